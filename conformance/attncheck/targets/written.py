"""An adapter that a person wrote: a class with `build`, `load` and `call` by the reference's names."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attnref import Mechanism
from attnref.catalogue import BY_ID
from torch import Tensor, nn

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.targets.adapter import Interface, signature_of


@dataclass(frozen=True)
class WrittenAdapter:
    """Calls a person's `build`, `load` and `call` with what each of them names.

    `build` gets sizes and options, `load` the instance and the reference's weights, `call` the
    instance, the inputs and options. Without `load` the weights stay the target's own.
    """

    written: Any
    mechanism: Mechanism

    @property
    def interface(self) -> Interface:
        signature = signature_of(self.mechanism)
        parameters = _named(self.written.call)[1:]
        required = [t.name for t in signature.inputs if not t.optional]
        stated: Mapping[str, tuple[str, ...]] = getattr(self.written, "inputs", {})
        inputs = dict(stated) or {n: (n,) for n in required if n in parameters}
        if not inputs:
            raise UsageError(
                f"the adapter's call takes {', '.join(parameters) or 'nothing'}; expected {', '.join(required)}, "
                "or an attribute `inputs` that says what each tensor stands for"
            )
        options = {o.name for o in self.mechanism.contract.options}
        built = set(_named(self.written.build)) if hasattr(self.written, "build") else set()
        optional = {t.name for t in signature.inputs if t.optional}
        return Interface(
            mechanism=self.mechanism.id,
            inputs=inputs,
            takes=tuple(n for n in (*parameters, *built) if n in optional | options | {"need_weights"}),
            fixed=dict(getattr(self.written, "fixed", {})),
            absent=tuple(getattr(self.written, "absent", ())),
            identity=tuple(getattr(self.written, "identity", ())),
            derived=dict(getattr(self.written, "derived", {})),
            free=tuple(a for a in self.mechanism.contract.defaults if a in built),
            loads=hasattr(self.written, "load") or self.mechanism.module is None,
            gives=("out", "weights") if getattr(self.written, "gives_weights", False) else ("out",),
            maskings=tuple(getattr(self.written, "maskings", ())),
            varies=dict(getattr(self.written, "varies", {})),
            refuses=tuple(getattr(self.written, "refuses", ())),
            notes=(f"adapter written by hand: {type(self.written).__name__}",),
            certainty="written",
        )

    def build(self, names: Mapping[str, Scalar]) -> Any:
        return self.written.build(**_wanted(self.written.build, names))

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        if hasattr(self.written, "load"):
            self.written.load(built, parameters)

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        wanted = _wanted(self.written.call, {**options, **inputs})
        result = self.written.call(built, **wanted)
        results = result if isinstance(result, tuple) else (result,)
        return dict(zip(self.mechanism.outputs, results, strict=False))

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        """Gradients in the reference's names, if the adapter has `gradients`; else none are known."""
        if isinstance(built, nn.Module) and hasattr(self.written, "gradients"):
            return dict(self.written.gradients(built))
        return {}


def written_adapter(written: Any) -> WrittenAdapter:
    """The adapter of a person's class or instance. Raises UsageError if something is missing."""
    instance = written() if isinstance(written, type) else written
    for name in ("mechanism", "build", "call"):
        if not hasattr(instance, name):
            raise UsageError(f"the adapter has no {name!r}; expected mechanism, build, call and, for weights, load")
    if instance.mechanism not in BY_ID:
        raise UsageError(f"the adapter's mechanism {instance.mechanism!r} is unknown (attncheck list mechanisms)")
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
