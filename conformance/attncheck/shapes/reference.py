"""The shape contracts of attnref's own references, proved against their own annotations."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import torch

from attncheck.shapes.expressions import Expression, bind, names_in
from attncheck.shapes.proof import Proof, answer
from attncheck.shapes.question import Forward, Question, Shape, Sizes
from attnref import Mechanism
from attnref._mechanism import Scalar
from attnref._signature import Dim, TensorShape, read

# Sizes that say how often something is repeated or divided. As symbols they would fix themselves.
_COUNTS = ("heads", "kernel", "gate_kernel", "stride", "groups", "branches", "reduction", "least_reduced")

# Each axis may be 1 or more, and n of them may be so in 2^n ways.
MOST_SYMBOLS = 5

# Small constructor sizes that are legal together; the rest of an annotation is symbols.
SIZES: Mapping[str, int] = {
    "heads": 3, "kernel": 3, "gate_kernel": 5, "stride": 2, "groups": 3, "branches": 2, "reduction": 4,
    "least_reduced": 5, "model_dim": 12, "channels": 12, "out_channels": 18, "hidden": 6, "classes": 7,
    "query_size": 5, "key_size": 7, "head_dim": 11, "v_dim": 13, "tokens": 6, "height": 31, "width": 37,
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """One way to call a reference: options, optional inputs by their rank, and which result is judged."""

    options: Mapping[str, Scalar] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    result: str = ""


def prove_reference(
    mechanism: Mechanism, sizes: Sizes | None = None, form: Form | None = None, *, seconds: float = 30.0
) -> Proof:
    """Prove that a reference keeps its own annotation, its constructor's sizes included. Never raises.

    Widths given to the constructor are symbols if its code lets them; else they are sampled, and
    `scope` says so. Counts, such as heads, are as in `sizes`.
    """
    form = form or Form()
    reference = _Reference(mechanism, {**SIZES, **(sizes or {})}, form)
    if not reference.widths:
        return replace(answer(reference.question(), seconds=seconds), scope=reference.scope())
    question = reference.question(symbols=True)
    reason = f"{len(question.axes)} axes have too many paths"
    if len(question.axes) <= MOST_SYMBOLS:
        whole = answer(question, seconds=seconds / 2, max_paths=100)
        if whole.status != "open":
            return replace(whole, scope=reference.scope(symbols=True))
        reason = whole.reason
    samples = [reference.scaled(factor) for factor in (1, 2)]
    proofs = [answer(sample.question(), seconds=seconds / 2) for sample in samples]
    return _joined(samples, proofs, reason)


@dataclass(frozen=True)
class _Reference:
    """A mechanism with constructor sizes and a form: everything that makes it a question."""

    mechanism: Mechanism
    sizes: Sizes
    form: Form

    @functools.cached_property
    def parameters(self) -> tuple[str, ...]:
        """The arguments of the constructor that are sizes, have no default, or stand among the sizes."""
        if self.mechanism.module is None:
            return ()
        found = inspect.signature(self.mechanism.module.__init__).parameters.values()
        options = {option.name for option in self.mechanism.contract.options}
        return tuple(
            p.name
            for p in found
            if p.name not in options
            and (p.default is inspect.Parameter.empty or isinstance(p.default, int))
            and p.name in self.sizes
        )

    @property
    def widths(self) -> tuple[str, ...]:
        return tuple(name for name in self.parameters if name not in _COUNTS)

    @property
    def counts(self) -> dict[str, int]:
        return {name: self.sizes[name] for name in self.parameters if name in _COUNTS}

    def scaled(self, factor: int) -> "_Reference":
        """The same with wider constructor sizes; what divided a width still does."""
        wider = {name: self.sizes[name] * factor for name in self.widths}
        return replace(self, sizes={**self.sizes, **wider})

    def scope(self, *, symbols: bool = False) -> str:
        fixed = self.counts if symbols else {name: self.sizes[name] for name in self.parameters}
        widths = f"{', '.join(self.widths)} of the constructor are symbols" if symbols else ""
        counts = f"at {_listed(fixed)}" if fixed else ""
        return ", ".join(part for part in (widths, counts) if part)

    def question(self, *, symbols: bool = False) -> Question:
        names = self.counts if symbols else {name: self.sizes[name] for name in self.parameters}
        known = {**self._defaults(names), **names, **self._options()}
        shapes, output = self._shapes()
        inputs = {shape.name: self._dims(shape, known) for shape in shapes}
        widths = self.widths if symbols else ()
        axes = {*widths, *(name for dims in inputs.values() for dim in dims for name in names_in(dim))}
        legal = [bind(rule.holds, known) for rule in self.mechanism.contract.rules]
        return Question(
            build=self._build,
            inputs=inputs,
            output=self._dims(output, known),
            fixed={name: size for name, size in names.items() if name not in axes},
            # A rule on an axis that this form does not have asks nothing of it.
            legal=tuple(rule for rule in legal if rule != "True" and set(names_in(rule)) <= axes),
            constructor=widths,
            kinds={shape.name: shape.kind for shape in shapes},
        )

    def _options(self) -> dict[str, Scalar]:
        chosen = {option.name: option.values[0] for option in self.mechanism.contract.options}
        return {**chosen, **self.form.options}

    def _defaults(self, names: Mapping[str, object]) -> dict[str, object]:
        """Sizes that follow from others, as expressions where those are symbols."""
        defaults = self.mechanism.contract.defaults.items()
        return {name: Expression(bind(text, names)) for name, text in defaults if name not in names}

    def _shapes(self) -> tuple[list[TensorShape], TensorShape]:
        function = self.mechanism.call if self.mechanism.module is None else self.mechanism.module.forward
        signature = read(function, self.mechanism.outputs)
        inputs = [shape for shape in signature.inputs if not shape.optional or shape.name in self.form.given]
        return inputs, signature[self.form.result or self.mechanism.outputs[0]]

    def _dims(self, shape: TensorShape, known: Mapping[str, object]) -> Shape:
        rank = self.form.given.get(shape.name) or self._spatial_rank(shape)
        dims = next((dims for dims in shape.ranks if len(dims) == rank), shape.dims)
        return tuple(_expression(dim, known) for dim in dims)

    def _spatial_rank(self, shape: TensorShape) -> int:
        """The rank of a map of features, where an option says how many axes its positions have."""
        positions = self._options().get("rank")
        return positions + 2 if isinstance(positions, int) else len(shape.dims)

    def _build(self, sizes: Sizes) -> Forward:
        options = dict(self._options())
        call: Callable[..., Any] = self.mechanism.call
        if self.mechanism.module is not None:
            taken = inspect.signature(self.mechanism.module.__init__).parameters
            own = {name: options.pop(name) for name in list(options) if name in taken}
            arguments = {name: sizes.get(name, self.sizes[name]) for name in self.parameters}
            call = self.mechanism.module(**arguments, **own).eval()
        if self.form.result and self.form.result != self.mechanism.outputs[0]:
            options["need_weights"] = True
        place = self.mechanism.outputs.index(self.form.result) if self.form.result else 0
        # An annotation is a text, where a symbol has no value: the check at the call stands aside.
        aside = any(isinstance(size, torch.SymInt) for size in sizes.values())
        return functools.partial(_call, call, options, place, aside)


def _call(
    call: Callable[..., Any], options: Mapping[str, Scalar], place: int, aside: bool, **tensors: torch.Tensor
) -> torch.Tensor:
    if aside:
        with mock.patch.object(torch.compiler, "is_compiling", return_value=True):
            out = call(**tensors, **options)
    else:
        out = call(**tensors, **options)
    result: torch.Tensor = out[place] if isinstance(out, tuple) else out
    return result


def _expression(dim: Dim, known: Mapping[str, object]) -> str:
    return bind(dim.expression, known)


def _joined(samples: Sequence[_Reference], proofs: Sequence[Proof], reason: str) -> Proof:
    """Several proofs at sampled constructor sizes as one, which is as good as the worst of them."""
    worst = max(proofs, key=lambda proof: ("proved", "open", "refuted").index(proof.status))
    shown = [_listed({name: sample.sizes[name] for name in sample.parameters}) for sample in samples]
    paths = [
        replace(path, conditions=(*(f"{n} == {s.sizes[n]}" for n in s.parameters), *path.conditions))
        for s, proof in zip(samples, proofs, strict=True)
        for path in proof.paths
    ]
    return replace(
        worst,
        paths=tuple(paths),
        replayed=sum(proof.replayed for proof in proofs),
        seconds=sum(proof.seconds for proof in proofs),
        scope=f"the constructor's sizes were sampled, at {'; '.join(shown)} (as symbols: {reason})",
    )


def _listed(sizes: Sizes) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items())
