"""The shape contract of a found target as a question that can be proved, asked in the target's process."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Scalar
from attncheck.shapes.catalogue import BY_ID
from attncheck.shapes.expressions import Expression, bind, names_in
from attncheck.shapes.question import Question, Sizes
from attncheck.targets.adapter import Adapter
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.opening import open_found
from attncheck.targets.subject import Subject, rank_for

Tell = Callable[[Mapping[str, object]], None]

# What differs between two calls of one model: the widths seldom do.
_VARYING = ("batch", "q_len", "kv_len", "tokens", "height", "width", "time", "length")


def prove_found(
    target: str, found: Mapping[str, Any], seconds: float, progress: Tell, symbols: int | None = None
) -> dict[str, object]:
    """Status and text of the proof for a target whose adapter was found; with so many symbols at most."""
    from attncheck.shapes.describe import describe
    from attncheck.shapes.proof import answer

    progress({"stage": "proof"})
    adapter = open_found(target, found)
    contract = contract_of(adapter, named_by_constructor(adapter.found))
    if contract is None:
        reason = "no legal sizes are known to construct it with"
        text = f"open: neither proved nor refuted\n  because    {reason}"
        return {"status": "open", "text": text, "fixed": "", "axes": []}
    if symbols is not None:
        contract = contract.narrowed(symbols)
    proof = answer(contract.question, seconds=seconds)
    axes = list(contract.question.axes)
    return {"status": proof.status, "text": describe(proof), "fixed": contract.words, "axes": axes}


def prove_mechanism(mechanism: str, seconds: float, progress: Tell) -> dict[str, object]:
    """The same for a reference."""
    from attncheck.shapes.describe import describe
    from attncheck.shapes.reference import prove_reference

    progress({"stage": "proof"})
    proof = prove_reference(BY_ID[mechanism], seconds=seconds)
    return {"status": proof.status, "text": describe(proof), "fixed": "", "axes": []}


@dataclass(frozen=True)
class Contract:
    """A question, and the sizes that were given to the constructor and are no symbols."""

    question: Question
    fixed: Sizes
    base: Sizes

    def narrowed(self, symbols: int) -> "Contract":
        """With so many symbols at most, those that vary from call to call first; the others at the base sizes.

        Every further symbol doubles the paths, since each may be one or more.
        """
        axes = self.question.axes
        kept = sorted(axes, key=lambda axis: (axis not in _VARYING, axes.index(axis)))[:symbols]
        settled = {axis: self.base[axis] for axis in axes if axis not in kept}
        question = replace(self.question, fixed={**self.question.fixed, **settled})
        return replace(self, question=question, fixed={**self.fixed, **settled})

    @property
    def words(self) -> str:
        """These sizes as a report prints them."""
        return " ".join(f"{axis}={size}" for axis, size in self.fixed.items())


def contract_of(adapter: Adapter, named: frozenset[str]) -> Contract | None:
    """The contract with the axes that the constructor is given fixed at the base sizes; None if none are legal."""
    subject = Subject(BY_ID[adapter.interface.mechanism], adapter.interface)
    options = {**default_options(subject), **subject.interface.fixed}
    sizes = rules_of(subject, options).planned({})
    if sizes is None:
        return None
    fixed = {a: s for a, s in sizes.items() if a in named or a in subject.constructor_axes}
    known = _known(subject, fixed, options)
    dims = {
        name: tuple(bind(bind(dim.expression, known), known) for dim in rank_for(shape, sizes, options))
        for name, shape in subject.inputs.items()
    }
    axes = {name for shape in dims.values() for dim in shape for name in names_in(dim)}
    rules = [rule.holds for rule in subject.mechanism.contract.rules] + list(subject.interface.refuses)
    legal = [bind(rule, known) for rule in rules]
    output = tuple(bind(d.expression, known) for d in rank_for(subject.signature["out"], sizes, options))
    question = Question(
        build=lambda _: _calling(adapter, {"dropout": 0.0, **options, **sizes}, options),
        inputs=dims,
        output=output,
        legal=tuple(rule for rule in legal if rule != "True" and set(names_in(rule)) <= axes),
        kinds={name: shape.kind for name, shape in subject.inputs.items()},
    )
    return Contract(question, fixed, sizes)


def _known(subject: Subject, fixed: Sizes, options: Mapping[str, Scalar]) -> dict[str, object]:
    """What names stand for: numbers of the constructor, options, axes that follow from others."""
    stated = {**subject.mechanism.contract.defaults, **subject.interface.derived}
    follows = {a: e for a, e in stated.items() if a not in subject.interface.free}
    follows |= subject.ties
    known: dict[str, object] = {**options, **fixed}
    return {**{a: Expression(bind(e, known)) for a, e in follows.items() if a not in known}, **known}


def named_by_constructor(found: Found) -> frozenset[str]:
    """The names that the arguments of a found constructor depend on, axes among them."""
    return frozenset(name for text in found.arguments.values() for name in re.findall(r"[a-z_]+", text))


def _calling(
    adapter: Adapter, names: Mapping[str, Scalar], options: Mapping[str, Scalar]
) -> Callable[..., Tensor]:
    built = adapter.build(names)
    if isinstance(built, nn.Module):
        built = built.to(torch.float32).eval()
        if isinstance(adapter, FoundAdapter):
            # A lazy layer that first meets a tensor without data would have no weights ever after.
            adapter.materialise(built, names)

    def call(**tensors: Tensor) -> Tensor:
        return adapter.call(built, tensors, options)["out"]

    return call
