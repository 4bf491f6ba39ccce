"""Runs what was found out: builds the target, fills its weights, calls it, and picks from what comes back."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attncheck.model.case import Scalar
from attncheck.model.errors import NoUnitError
from attncheck.model.recipe import Kind, Recipe
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import MEMORY, Interface, first_tensor, signature_of
from attncheck.targets.configuring import configuration
from attncheck.targets.entries import by_usual_names
from attncheck.targets.found import STACKED, Argument, Found, value_of
from attncheck.targets.gating import completed
from attncheck.targets.layers import statistics
from attncheck.targets.layouts import layout
from attncheck.targets.placing import Placement, form_within, require_places
from attncheck.targets.rates import stilled
from attnref import Mechanism
from attnref._signature import TensorShape


def randomise(built: nn.Module) -> None:
    """Weights of the target's own that are the same in every instance; what is zero at birth is not left so."""
    for index, parameter in enumerate(p for p in built.parameters() if p.requires_grad):
        kind: Kind = "weight" if parameter.dim() > 1 else "vector"
        parameter.copy_(make(Recipe(tuple(parameter.shape), kind, 1000 + index)))
    buffers = dict(built.named_buffers())
    kept = statistics({name: tuple(buffer.shape) for name, buffer in buffers.items()})
    for index, (name, buffer) in enumerate(buffers.items()):
        # Statistics too: a call in training mode moves them.
        if name in kept:
            moment: Kind = "positive" if kept[name][1] == "running_var" else "vector"
            buffer.copy_(make(Recipe(tuple(buffer.shape), moment, 2000 + index)))


@dataclass(frozen=True)
class FoundAdapter:
    """Runs what was found."""

    found: Found
    target: Any

    @property
    def mechanism(self) -> Mechanism:
        return BY_ID[self.found.mechanism]

    @property
    def interface(self) -> Interface:
        found = self.found
        mask = found.mask
        role = mask.role if mask else ""
        return Interface(
            mechanism=found.mechanism,
            inputs=found.inputs,
            takes=found.takes,
            fixed=found.fixed,
            absent=found.absent,
            identity=found.identity,
            free=found.free,
            derived=found.derived,
            tied=found.tied,
            loads=found.loads,
            shared=found.shared,
            lacking=found.lacking,
            ranks=found.ranks,
            also=found.also,
            unmatched=found.unmatched,
            spare=found.spare,
            # What is handed its weights is a function, whoever owns them.
            is_module=found.is_class and not found.owned,
            gives=("out", "weights") if found.weights is not None else ("out",),
            varies={role: mask.varies} if mask and not mask.lower else {},
            maskings=mask.maskings if mask else (),
            pads=found.padding.varies if found.padding else (),
            exclusive=found.exclusive,
            prefixes_only=bool(mask and mask.polarity == "lengths"),
            notes=found.notes,
            framework=found.framework,
            certainty=found.certainty,
            dtype=found.dtype,
            refuses=found.refuses,
            unprojected=found.unprojected,
            norms=found.norms,
            conventions=found.conventions,
            documented=found.documented,
        )

    def build(self, names: Mapping[str, Scalar]) -> Any:
        found = self.found
        if not found.is_class:
            return self.target
        names = {"dropout": 0.0, **names, **found.fixed}
        values = {name: value_of(text, names) for name, text in found.arguments.items()}
        for name, text in found.arguments.items():
            if text.endswith("// reduction") and not values[name]:
                raise NoUnitError(f"{name}=0 leaves no unit, and nobody asks for that")
        if found.config:
            values = {found.config: configuration(self.target, found.made_as)(**values)}
        return stilled(self.target(**values), found.stilled)

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        if not isinstance(built, nn.Module):
            return
        self.materialise(built, names)
        own = dict(built.named_parameters(remove_duplicate=False)) | dict(built.named_buffers())
        if not self.found.loads:
            randomise(built)
        parameters = self._unshared(parameters, names)
        placements = self._placements(own, parameters)
        if self.found.loads:
            missing = {*parameters} - {*self.found.absent, *self.found.identity}
            learned = {n for n, _ in built.named_parameters(remove_duplicate=False)}
            require_places(placements, learned - {*self.found.idle, *self.found.neutral}, missing)
        for name in self.found.neutral:
            (nn.init.zeros_ if own[name].dim() == 1 else nn.init.eye_)(own[name])
        for placement in placements:
            if self.found.unprojected and placement.target not in own and "output." in placement.roles[0]:
                continue
            placement.place(own, parameters, {**names, **self.found.fixed})

    def _unshared(
        self, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        """Of heads of keys and values that are alike, the one that the target has."""
        if not self.found.shared:
            return parameters
        groups, heads = int(value_of(self.found.shared, names)), int(str(names["heads"]))
        alike = heads // groups
        # Of the rows of a weight, those of every head that is the first of its group.
        return {
            n: p.reshape(groups, alike, p.shape[0] // heads, *p.shape[1:])[:, 0].flatten(0, 1)
            if n.startswith(MEMORY)
            else p
            for n, p in parameters.items()
        }

    def materialise(self, built: nn.Module, names: Mapping[str, Scalar]) -> None:
        """Call an instance with lazy layers once, so that its tensors get their shapes."""
        tensors = [*built.parameters(), *built.buffers()]
        if not any(is_lazy(tensor) for tensor in tensors):
            return
        like, training = tensors[0], built.training
        inputs = {}
        for name, (role, *_) in self.found.inputs.items():
            shape = signature_of(self.mechanism)[role]
            rank = self.found.ranks.get(role, len(shape.dims))
            sizes = [dim.size(names) for dim in next(d for d in shape.ranks if len(d) == rank)]
            dtype = torch.int64 if shape.kind == "int" else like.dtype
            inputs[name] = torch.zeros(sizes, dtype=dtype, device=like.device)
        with torch.no_grad():
            self.call(built.eval(), inputs, {})
        built.train(training)

    def placed(self, own: Container[str], parameters: Mapping[str, object]) -> list[str]:
        """The target's tensors that are filled with these parameters."""
        return [name for placement in self._placements(own, parameters) for name in placement.names]

    def _placements(self, own: Container[str], parameters: Mapping[str, object]) -> list[Placement]:
        forms = (self.found.placements, *self.found.others)
        return form_within(own, forms, parameters, {*self.found.absent, *self.found.identity})

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        found = self.found
        positional: list[Any] = []
        named: dict[str, Any] = {}
        given = (a for a in found.call if a.tensor not in found.spare or a.tensor in inputs)
        for argument in given:
            value = self._value(argument, inputs, options)
            if argument.name:
                named[argument.name] = value
            else:
                positional.append(value)
        self._switch(named, options, inputs)
        before = _versions(named)
        result = built(*positional, **named)
        self._pass_on_writing({n for n, version in _versions(named).items() if version != before[n]}, inputs)
        return self._results(result, built, options, inputs)

    def _pass_on_writing(self, written: Container[str], inputs: Mapping[str, Tensor]) -> None:
        """Write to the question's tensors if what was made of them was written to, for the next call to notice."""
        forms = [form for form in (self.found.mask, self.found.padding) if form is not None]
        for role in {form.role for form in forms if form.argument in written and form.role in inputs}:
            inputs[role].logical_not_()
        for argument in self.found.call:
            if argument.tensor in inputs and argument.name in written:
                tensor = inputs[argument.tensor]
                if layout(self._shape(argument.tensor), tensor.dim(), argument.layout).copies:
                    with torch.no_grad():
                        tensor.add_(1)

    def _value(self, argument: Argument, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]) -> Any:
        if argument.constant:
            return value_of(argument.constant, {**options, **inputs})
        names = argument.tensor.split(",")
        rows = int(str(options.get("height", 1)))
        tensors = [
            layout(self._shape(n), inputs[n].dim(), argument.layout).to_target(inputs[n], rows) for n in names
        ]
        if argument.pack.startswith(STACKED):
            return torch.stack(tensors, dim=int(argument.pack.removeprefix(STACKED)))
        if argument.pack == "last":
            return torch.cat(tensors, dim=-1)
        if argument.pack == "dict":
            usual = by_usual_names(names, tensors)
            return {key: usual[key] for key in argument.keys if key in usual} or usual
        return tensors if argument.pack == "list" else tensors[0]

    def _shape(self, name: str) -> TensorShape:
        return signature_of(self.mechanism)[self.found.inputs[name][0]]

    def _switch(
        self, named: dict[str, Any], options: Mapping[str, Scalar], inputs: Mapping[str, Tensor]
    ) -> None:
        """Options of the call, and the mask, as the target understands them."""
        for option, text in self.found.switches.items():
            name, expression = text.split("=", 1)
            if option in options and (options[option] is not None or "None" in expression):
                named[name] = value_of(expression, options)
        if self.found.biased and "bias" in inputs:
            named[self.found.biased] = inputs["bias"]
        mask = self.found.mask
        if mask is not None and mask.role in inputs:
            first = next(t for n, t in inputs.items() if n in self.found.inputs)
            for form, part in self.found.handed(inputs[mask.role], first.shape[0]):
                named[form.argument] = form.to_target(part, first, self._kv_len(inputs))

    def _kv_len(self, inputs: Mapping[str, Tensor]) -> int:
        signature = signature_of(self.mechanism)
        first = next(iter(inputs.values()))
        for name, roles in self.found.inputs.items():
            for role in roles:
                if "kv_len" in signature[role].axes:
                    return inputs.get(name, first).shape[signature[role].axes.index("kv_len")]
        return 0

    def _results(
        self, result: Any, built: Any, options: Mapping[str, Scalar], inputs: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        found = self.found
        out = picked(result, found.result, built)
        if not isinstance(out, Tensor):
            raise TypeError(f"expected a tensor as the output, got {type(out).__name__}")
        shape = signature_of(self.mechanism)["out"]
        rank = len(shape.dims) if len(shape.ranks) == 1 else out.dim()
        # What comes alone has axes of its own.
        results = {
            "out": completed(found.mechanism, inputs, out, found.gate)
            if found.gate
            else layout(shape, rank, found.result_layout).to_reference(out, next(iter(inputs.values())))
        }
        if found.weights is not None and options.get("need_weights", True):
            weights = picked(result, found.weights, built)
            if isinstance(weights, Tensor):
                results["weights"] = weights
        return results

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        if not isinstance(built, nn.Module):
            return {}
        gradients: dict[str, Tensor | None] = {}
        parameters = self._unshared(parameters, names)
        own = dict(built.named_parameters(remove_duplicate=False))
        for placement in self._placements(own | dict(built.named_buffers()), parameters):
            if placement.within(own):
                gradients |= placement.gradients(own, parameters, {**names, **self.found.fixed})
        # What several heads share has the sum of their gradients, which no tensor of the reference has.
        return {n: g for n, g in gradients.items() if not (self.found.shared and n.startswith(MEMORY))}


def _versions(arguments: Mapping[str, Any]) -> dict[str, int]:
    """How often each tensor was written to, where torch counts it."""
    if torch.compiler.is_compiling():
        return {}
    return {n: t._version for n, t in arguments.items() if isinstance(t, Tensor) and not t.is_inference()}


def picked(result: Any, place: str, built: Any) -> Any:
    """One part of a result: itself, an index, a key, a field, or an attribute of the instance."""
    if isinstance(result, Tensor) and not place.startswith("self."):
        # A target that gives a tuple only when asked for weights gives the output alone otherwise.
        return result if place in ("", "0") else None
    if place == "":
        return first_tensor(result)
    if place.startswith("self."):
        return getattr(built, place.removeprefix("self."))
    if place.isdigit():
        return result[int(place)] if int(place) < len(result) else None
    return result[place] if isinstance(result, Mapping) else getattr(result, place)
