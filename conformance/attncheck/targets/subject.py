"""A subject: a mechanism as one target offers it. It turns cases into questions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from attncheck.model.case import Case, Scalar
from attncheck.model.recipe import Kind, Recipe
from attncheck.strategies.sizes import value
from attncheck.targets.adapter import (
    MEMORY,
    Interface,
    Reference,
    constructor_axes,
    feature_sizes,
    is_factor,
    parameter_shapes,
    signature_of,
)
from attncheck.targets.ask import Ask
from attncheck.targets.masks import PADDING_KINDS
from attncheck.targets.normalising import AROUND
from attnref import Mechanism
from attnref._mechanism import Law
from attnref._signature import Dim, Signature, TensorShape

# Weights of the reference that scale or that must be positive, by the end of their names.
_POSITIVE = ("running_var", "norm.weight", "width")

# Laws that need a straight way from the values to the output, and where a norm would bend it.
_LINEAR = {"zero_key_gives_the_mean": ("v", "out"), "linear_in_values": ("out",)}


@dataclass(frozen=True, eq=False)
class Subject:
    """What can be asked of a target, in the words of its mechanism.

    `world` counts the processes that compute one answer together.
    """

    mechanism: Mechanism
    interface: Interface
    device: str = "cpu"
    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16", "float16")
    world: int = 1

    @cached_property
    def signature(self) -> Signature:
        """The reference's tensors, in the forms in which this target takes them."""
        signature = signature_of(self.mechanism)
        if not self.interface.ranks:
            return signature
        return replace(signature, inputs=tuple(self._in_form(t) for t in signature.inputs))

    def _in_form(self, shape: TensorShape) -> TensorShape:
        rank = self.interface.ranks.get(shape.name)
        return (
            shape if rank is None else replace(shape, ranks=tuple(d for d in shape.ranks if len(d) == rank))
        )

    @cached_property
    def reference(self) -> Reference:
        """The reference, taking this target's inputs."""
        return Reference(self.mechanism, like=self.interface)

    @cached_property
    def inputs(self) -> Mapping[str, TensorShape]:
        """What is always handed over: name -> shape of the first role."""
        return {name: self._roles(name)[0] for name in self.interface.inputs}

    def _roles(self, name: str) -> list[TensorShape]:
        """The inputs of the reference that a tensor stands for, in the reference's order."""
        roles = self.interface.inputs[name]
        return [shape for shape in self.signature.inputs if shape.name in roles]

    @cached_property
    def optional(self) -> Mapping[str, TensorShape]:
        """Optional inputs of the reference that the target takes as well."""
        return {t.name: t for t in self.signature.inputs if t.optional and t.name in self.interface.takes}

    @cached_property
    def constructor_axes(self) -> tuple[str, ...]:
        """Axes whose sizes the reference's constructor takes, and that are no option."""
        options = {option.name for option in self.mechanism.contract.options}
        return tuple(a for a in constructor_axes(self.mechanism) if a not in options)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Every axis that has a size of its own or by default."""
        return tuple(dict.fromkeys((*self.signature.axes, *self.constructor_axes)))

    def axes_under(self, options: Mapping[str, Scalar]) -> tuple[str, ...]:
        """The axes that have a size when an option tells which rank the inputs have."""
        forms = [rank_for(shape, dict.fromkeys(self.axes, 1), options) for shape in self.signature.inputs]
        used = {dim.axis for dims in forms for dim in dims if dim.axis}
        return tuple(a for a in self.axes if "rank" not in options or a in used or a in self.constructor_axes)

    @cached_property
    def ties(self) -> Mapping[str, str]:
        """Axes that are the same because one tensor plays several roles or holds several: tied axis -> leading axis."""
        tied = dict(self.interface.tied)
        for name in self.interface.inputs:
            first, *others = self._roles(name)
            for other in others:
                tied |= {b: a for a, b in zip(first.axes, other.axes, strict=True) if a != b}
        return tied

    @property
    def keys_axis(self) -> str:
        """The axis along which keys lie: that of the queries where one tensor is both."""
        return self.ties.get("kv_len", "kv_len")

    @property
    def masking(self) -> str | None:
        """The optional input through which keys are hidden, if the target takes one."""
        return next((name for name in ("mask", "valid_lens") if name in self.optional), None)

    @property
    def norms_batches(self) -> bool:
        """Whether the contract says that training sees the whole batch, as batch norm does.

        What the target takes may be chosen so that it does.
        """
        laws = [law for law in self.laws("samples_do_not_mix") if law.only_eval]
        names = {o.name: o.values[0] for o in self.mechanism.contract.options} | dict(self.interface.fixed)
        open_ = [n for n in names if n in self.interface.takes and n not in self.interface.fixed]
        return any(not law.when or law.when in open_ or bool(value(law.when, names)) for law in laws)

    def laws(self, check: str) -> tuple[Law, ...]:
        """The laws of the contract that the check of that name judges."""
        return tuple(law for law in self.mechanism.contract.laws if law.id == check)

    def law(self, check: str, case: Case) -> Law:
        """The law that a case judges: where several of one name are stated for it, by turns.

        Raises AssertionError if none is, as `law_holds` tells beforehand.
        """
        stated = self.stated(check, case)
        assert stated, f"{check} is not stated for {case}"
        return stated[case.seed % len(stated)]

    def law_holds(self, check: str, case: Case) -> bool:
        """Whether a law of that name is stated for the sizes and options of a case, or none ever is."""
        return not self.laws(check) or bool(self.stated(check, case))

    def stated(self, check: str, case: Case) -> list[Law]:
        """The laws of that name that hold for the sizes and options of a case and say something of the target."""
        names = {**case.names, **self.interface.fixed}
        loadable = [law for law in self.laws(check) if self.interface.loads or not law.parameters]
        stated = [law for law in loadable if not law.when or value(law.when, names)]
        return [law for law in stated if not self.normed & set(_LINEAR.get(law.id, ()))]

    @cached_property
    def normed(self) -> frozenset[str]:
        """Roles of the reference that the target puts through a norm, "out" among them."""
        places = [place for norm in self.interface.norms for place in norm.places]
        return frozenset(role for place in places for role in self.interface.inputs.get(place, (place,)))

    def position(self, ask: Ask, name: str, axis: str) -> int | None:
        """Where an input of a question has an axis; None if it lacks it or broadcasts along it."""
        shape = self.inputs.get(name) or self.optional[name]
        recipe = ask.inputs[name]
        dims = next(d for d in shape.ranks if len(d) == len(recipe.shape))
        varies = self._variation(name, recipe.kind)
        for index, dim in enumerate(dims):
            if dim.axis == axis and not (dim.broadcasts and varies is not None and axis not in varies):
                return index
        return None

    def places(self, ask: Ask, axis: str) -> list[tuple[str, int]]:
        """The inputs of a question that have an axis, each with its position.

        An axis that is tied to another, because one tensor plays both roles, is that other one.
        """
        same = {axis, *(a for a, b in self.ties.items() if b == axis)}
        found = [(name, self.position(ask, name, a)) for name in ask.inputs for a in sorted(same)]
        return [(name, place) for name, place in found if place is not None]

    def has(self, axis: str) -> bool:
        """Whether some input that is always handed over has the axis as its own."""
        return axis not in self.interface.tied and any(axis in shape.axes for shape in self.inputs.values())

    def along(self, ask: Ask, axis: str, op: str, argument: float | tuple[float, ...] | None = None) -> Ask:
        """The question with every input edited along one axis."""
        for name, place in self.places(ask, axis):
            ask = ask.edit(name, op, place, argument)
        return ask

    def playing(self, roles: tuple[str, ...]) -> list[str]:
        """Inputs that play no other than these roles of the reference."""
        return [name for name, own in self.interface.inputs.items() if set(own) <= set(roles)]

    def output_axis(self, axis: str, output: str = "out") -> int | None:
        """The position of an axis in an output."""
        axes = self.signature[output].axes
        return axes.index(axis) if axis in axes else None

    def ask(self, case: Case, **changes: object) -> Ask:
        """The question of a case: every tensor a recipe with a seed of its own."""
        names = {"dropout": 0.0, **case.names, **self.interface.fixed}
        inputs = {n: self._input(n, shape, case, i) for i, (n, shape) in enumerate(self.inputs.items())}
        if case.masking and self.masking:
            inputs[self.masking] = self._mask(self.optional[self.masking], case)
        for name in self.optional:
            if case.options.get(name) is True:
                inputs[name] = self._input(name, self.optional[name], case, 50)
        options = {k: v for k, v in {**case.options, **self.interface.fixed}.items() if k not in inputs}
        fields: dict[str, object] = {
            "names": names,
            "parameters": self.parameters(case),
            "inputs": inputs,
            "options": options,
            "dtype": case.dtype,
            "device": case.device,
            "cotangent": case.seed * 1009 + 999,
            **changes,
        }
        return Ask(**fields)  # type: ignore[arg-type]  # fields of Ask

    def parameters(self, case: Case) -> dict[str, Recipe]:
        """Recipes for everything the reference learns or tracks, absent ones as zeros."""
        shapes = parameter_shapes(self.mechanism, case.names)
        recipes = {}
        for index, (name, shape) in enumerate(shapes.items()):
            recipe = Recipe(shape, _parameter_kind(name, shape), case.seed * 1009 + 100 + index, case.dtype)
            if self.lacks(name):
                recipe = recipe.edit("zero")
                recipe = recipe.edit("add", None, 1.0) if is_factor(name) else recipe
            recipes[name] = recipe.edit("identity") if name in self.interface.identity else recipe
            if self.interface.shared and name.startswith(MEMORY):
                groups = int(str(value(self.interface.shared, case.names)))
                recipes[name] = recipes[name].edit("share", case.sizes["heads"], groups)
            if self.goes(name, case.names):
                recipes[name] = recipe.edit("identity" if len(shape) > 1 else "zero")
        return recipes | self._around(case)

    def _around(self, case: Case) -> dict[str, Recipe]:
        """Recipes for what the target's norms learn."""
        if not self.interface.norms:
            return {}
        sizes = feature_sizes(self.mechanism, self.interface.inputs, case.names)
        recipes = {}
        for index, norm in enumerate(self.interface.norms):
            shape, seed = (sizes[norm.places[0]],), case.seed * 1009 + 300 + 2 * index
            if norm.gain:
                recipes[f"{AROUND}.{index}.weight"] = Recipe(shape, "positive", seed, case.dtype)
            if norm.bias:
                recipes[f"{AROUND}.{index}.bias"] = Recipe(shape, "vector", seed + 1, case.dtype)
        return recipes

    def lacks(self, parameter: str) -> bool:
        """Whether the target has no such parameter; what one of its branches lacks all of them lack."""
        return _unnumbered(parameter) in {_unnumbered(name) for name in self.interface.absent}

    def goes(self, parameter: str, names: Mapping[str, Scalar]) -> bool:
        """Whether the target has no such parameter at these sizes: an output layer that would fit as it is."""
        condition = self.interface.unprojected
        return parameter.startswith("output.") and bool(condition) and bool(value(condition, names))

    def _input(self, name: str, shape: TensorShape, case: Case, index: int) -> Recipe:
        varies = self._variation(name, case.masking)
        sizes = tuple(
            1 if dim.broadcasts and varies is not None and dim.axis not in varies else dim.size(case.names)
            for dim in rank_for(shape, case.sizes, case.options)
        )
        seed = case.seed * 1009 + index
        if shape.kind == "int":
            return Recipe(sizes, "lengths", seed, "int64", scale=self._longest(name, case))
        return Recipe(sizes, "normal", seed, case.dtype)

    def _variation(self, name: str, kind: str) -> tuple[str, ...] | None:
        """Axes over which an optional input may vary, None for all; of a mask it depends on the kind."""
        varies = self.interface.varies.get(name)
        if varies is None or name != self.masking or not self.interface.pads:
            return varies
        if kind == "mixed_mask":
            return (*varies, *self.interface.pads)
        return self.interface.pads if kind in PADDING_KINDS else varies

    def _mask(self, shape: TensorShape, case: Case) -> Recipe:
        if shape.kind == "int":
            return self._input(shape.name, self._form_of_lengths(shape, case), case, 70)
        recipe = self._input(shape.name, shape, case, 70)
        kind: Kind = case.masking  # type: ignore[assignment]  # one of the mask kinds, by Case's contract
        return Recipe(recipe.shape, kind, recipe.seed, "bool")

    def _form_of_lengths(self, shape: TensorShape, case: Case) -> TensorShape:
        """One length for every query where masks are random and the target takes such, else for every sample."""
        varies = self.interface.varies.get(shape.name, shape.axes)
        forms = [dims for dims in shape.ranks if all(dim.axis in varies for dim in dims)] or [shape.ranks[-1]]
        return replace(shape, ranks=(forms[0] if case.masking == "random_mask" else forms[-1],))

    def _longest(self, name: str, case: Case) -> float:
        axis = self.mechanism.contract.lengths.get(name)
        return float(case.sizes[axis]) if axis else 1.0


def _unnumbered(name: str) -> str:
    """A parameter's name without numbers: what one branch lacks all of them lack."""
    return re.sub(r"\.\d+\.", ".#.", name)


def rank_for(shape: TensorShape, sizes: Mapping[str, int], options: Mapping[str, Scalar]) -> tuple[Dim, ...]:
    """The form that the option `rank` names, else the longest all of whose axes have sizes."""
    for dims in shape.ranks:
        # The rank of a map counts its positions; batch and channels stand before them.
        named = "rank" not in options or len(dims) == int(str(options["rank"])) + 2
        if named and all(dim.axis is None or dim.axis in sizes for dim in dims):
            return dims
    return shape.ranks[-1]


def _parameter_kind(name: str, shape: tuple[int, ...]) -> Kind:
    if name.endswith(_POSITIVE):
        return "positive"
    return "weight" if len(shape) > 1 else "vector"
