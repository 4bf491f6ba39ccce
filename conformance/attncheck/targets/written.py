"""An adapter that a person wrote: a class with `build`, `load` and `call` by the reference's names."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import Interface, signature_of
from attncheck.targets.found_adapter import randomise
from attnref import Mechanism


@dataclass(frozen=True)
class WrittenAdapter:
    """Calls a person's `build`, `load` and `call` with what each of them names.

    `build` gets sizes and options, `load` the instance, the reference's weights and the sizes that
    it names, `call` the instance, the inputs and options. Without `load` the weights are random,
    the same in every instance. What the methods do not say are attributes, called as in `Interface`.
    `origin` says where it comes from, if not from a person's file.
    """

    written: Any
    mechanism: Mechanism
    origin: str = ""

    @property
    def interface(self) -> Interface:
        parameters = _named(self.written.call)[1:]
        built = set(_named(self.written.build)) if hasattr(self.written, "build") else set()
        optional = {t.name for t in signature_of(self.mechanism).inputs if t.optional}
        known = optional | {o.name for o in self.mechanism.contract.options} | {"need_weights", "dropout"}
        return Interface(
            mechanism=self.mechanism.id,
            inputs=self._inputs(parameters),
            takes=tuple(n for n in (*parameters, *built) if n in known),
            fixed=dict(getattr(self.written, "fixed", {})),
            absent=tuple(getattr(self.written, "absent", ())),
            identity=tuple(getattr(self.written, "identity", ())),
            derived=dict(getattr(self.written, "derived", {})),
            free=tuple(
                getattr(self.written, "free", [a for a in self.mechanism.contract.defaults if a in built])
            ),
            loads=hasattr(self.written, "load") or self.mechanism.module is None,
            gives=("out", "weights") if getattr(self.written, "gives_weights", False) else ("out",),
            maskings=tuple(getattr(self.written, "maskings", ())),
            varies=dict(getattr(self.written, "varies", {})),
            prefixes_only=bool(getattr(self.written, "prefixes_only", False)),
            shared=str(getattr(self.written, "shared", "")),
            lacking=str(getattr(self.written, "lacking", "")),
            ranks=dict(getattr(self.written, "ranks", {})),
            also=tuple(getattr(self.written, "also", ())),
            is_module=bool(getattr(self.written, "is_module", True)),
            exclusive=tuple(getattr(self.written, "exclusive", ())),
            refuses=tuple(getattr(self.written, "refuses", ())),
            notes=(self.origin or f"adapter written by hand: {type(self.written).__name__}",),
            certainty="written",
            dtype=str(getattr(self.written, "dtype", "float64")),
            conventions=dict(getattr(self.written, "conventions", {})),
        )

    def _inputs(self, parameters: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What each tensor of a call stands for, as stated or by its name."""
        required = [t.name for t in signature_of(self.mechanism).inputs if not t.optional]
        stated: Mapping[str, tuple[str, ...]] = getattr(self.written, "inputs", {})
        inputs = dict(stated) or {n: (n,) for n in required if n in parameters}
        if not inputs:
            raise UsageError(
                f"the adapter's call takes {', '.join(parameters) or 'nothing'}; "
                f"expected {', '.join(required)}, "
                "or an attribute `inputs` that says what each tensor stands for"
            )
        return inputs

    def build(self, names: Mapping[str, Scalar]) -> Any:
        return self.written.build(**_wanted(self.written.build, names))

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        if hasattr(self.written, "load"):
            named = {
                n: v for n, v in _wanted(self.written.load, names).items() if n not in ("module", "weights")
            }
            self.written.load(built, parameters, **named)
        elif isinstance(built, nn.Module):
            randomise(built)

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        wanted = _wanted(self.written.call, {**options, **inputs})
        result = self.written.call(built, **wanted)
        results = result if isinstance(result, tuple) else (result,)
        named = dict(zip(self.mechanism.outputs, results, strict=False))
        # Weights that were not asked for come back as None from many a module.
        return {n: t for n, t in named.items() if isinstance(t, Tensor) or n == "out"}

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        """Gradients in the reference's names: from `gradients`, or from where `load` puts each number.

        Those of weights that `load` does more to than copying are not told.
        """
        if not isinstance(built, nn.Module):
            return {}
        if hasattr(self.written, "gradients"):
            return dict(self.written.gradients(built))
        return self._traced(built, parameters, names) if hasattr(self.written, "load") else {}

    def _traced(
        self, built: nn.Module, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> dict[str, Tensor | None]:
        """Load numbers in the place of weights, and send each gradient to where its number came from."""
        shapes = {n: t.shape for n, t in parameters.items()}
        total = sum(t.numel() for t in parameters.values())
        counts = [t.numel() for t in parameters.values()]
        numbers = torch.split(torch.arange(1, total + 1, dtype=torch.float64), counts)
        other = self.build(names).to("cpu", torch.float64)
        with torch.no_grad():
            for tensor in other.parameters():
                tensor.zero_()
            self.load(
                other, {n: t.reshape(s) for (n, s), t in zip(shapes.items(), numbers, strict=True)}, names
            )
        homes = dict(other.named_parameters())
        flat, seen = torch.zeros(total + 1, dtype=torch.float64), torch.zeros(total + 1, dtype=torch.long)
        silent = torch.zeros(total + 1, dtype=torch.bool)
        for name, own in built.named_parameters():
            places = homes[name].detach().flatten()
            if not bool(((places == places.round()) & (places >= 0) & (places <= total)).all()):
                return {}
            index = places.long()
            seen.index_add_(0, index, torch.ones_like(index))
            if own.grad is None:
                silent[index] = True
            else:
                flat.index_add_(0, index, own.grad.flatten().to("cpu", torch.float64))
        return _told(shapes, *(torch.split(each[1:], counts) for each in (flat, seen, silent)))


def _told(
    shapes: Mapping[str, torch.Size],
    gradients: Sequence[Tensor],
    seen: Sequence[Tensor],
    silent: Sequence[Tensor],
) -> dict[str, Tensor | None]:
    """The gradients of weights every number of which was found again; None where none flows."""
    told: dict[str, Tensor | None] = {}
    for (name, shape), gradient, times, lacking in zip(shapes.items(), gradients, seen, silent, strict=True):
        if bool((times > 0).all()):
            told[name] = None if bool(lacking.all()) else gradient.reshape(shape)
    return told


def written_adapter(written: Any) -> WrittenAdapter:
    """The adapter of a person's class or instance. Raises UsageError if something is missing."""
    instance = written() if isinstance(written, type) else written
    for name in ("mechanism", "build", "call"):
        if not hasattr(instance, name):
            raise UsageError(
                f"the adapter has no {name!r}; expected mechanism, build, call and, for weights, load"
            )
    if instance.mechanism not in BY_ID:
        raise UsageError(
            f"the adapter's mechanism {instance.mechanism!r} is unknown (attncheck list mechanisms)"
        )
    return WrittenAdapter(instance, BY_ID[instance.mechanism])


def _named(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _wanted(function: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that a function names; all of them if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return dict(values)
    return {p.name: values[p.name] for p in parameters if p.name in values}
