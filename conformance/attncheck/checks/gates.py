"""Laws of gates: how large they are and what they see."""

import math

from torch import Tensor

from attncheck.checks.check import Judgement, Mismatch, NotJudged, Trial, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, owned
from attncheck.checks.pixels import positions
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.strategies.tolerance import RIGHT
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def gate(out: Tensor, x: Tensor, over: tuple[int, ...]) -> Tensor:
    """The factor between input and output, the same along some axes, by least squares."""
    return (out * x).sum(over, keepdim=True) / (x * x).sum(over, keepdim=True).clamp_min(1e-300)


def at_least(actual: Tensor, bound: Tensor, what: str) -> Judgement:
    """None if every entry reaches its bound, but for rounding."""
    if actual.shape != bound.shape:
        return Mismatch(f"shape {tuple(bound.shape)}", f"shape {tuple(actual.shape)}", kind="wrong shape")
    short = bound - actual
    allowed = RIGHT * max(1.0, float(bound.abs().max()) if bound.numel() else 1.0)
    # A NaN reaches nothing.
    if bool((short <= allowed).all()):
        return None
    index = int(short.nan_to_num(nan=float("inf")).argmax())
    got, wanted = float(actual.flatten()[index]), float(bound.flatten()[index])
    return Mismatch(what, f"{got:.6g} where at least {wanted:.6g} was expected")


@check(
    "law",
    "a gate is between zero and one",
    applies=needs_law("gate_is_between_zero_and_one"),
    options="all",
    rank=34,
)
def gate_is_between_zero_and_one(subject: Subject, case: Case) -> Trial:
    """No entry grows: the output is at most as large as the input."""
    ask = subject.ask(case)
    x = make(ask.inputs[subject.law("gate_is_between_zero_and_one", case).inputs[0]])
    (answer,) = yield [ask]
    # A sigmoid is never one, so a gate that is nothing but ones shows as well.
    if answer.out.shape == x.shape and x.numel() and bool((answer.out == x).all()):
        return Mismatch("a gate below one", "the input itself")
    return at_least(x.abs(), answer.out.abs(), "an output no larger than the input") or at_least(
        answer.out * x.sign(), x * 0, "an output of the input's sign"
    )


@check("law", "the output has the sign of the input", applies=needs_law("keeps_sign"), options="all", rank=34)
def keeps_sign(subject: Subject, case: Case) -> Trial:
    """A gate scales; it neither turns a sign nor makes anything vanish."""
    ask = subject.ask(case)
    x = make(ask.inputs[subject.law("keeps_sign", case).inputs[0]])
    (answer,) = yield [ask]
    if answer.out.shape != x.shape:
        return NotJudged("the output has another shape")
    turned = answer.out.sign() != x.sign()
    if not bool(turned.any()):
        return None
    return Mismatch(
        "the sign of the input everywhere", f"another at {int(turned.sum())} of {turned.numel()} entries"
    )


@check("law", "zero gives zero", applies=needs_law("zero_input_gives_zero"), options="all", rank=34)
def zero_input_gives_zero(subject: Subject, case: Case) -> Trial:
    """Whatever the gate is, it scales nothing."""
    ask = subject.ask(case)
    (answer,) = yield [ask.edit(subject.law("zero_input_gives_zero", case).inputs[0], "zero")]
    return agree(answer.out, answer.out * 0, "the output for an input of zeros")


@check(
    "law",
    "one gate for all pixels of a channel",
    applies=needs_law("gate_is_constant_over_space"),
    options="all",
    rank=34,
)
def gate_is_constant_over_space(subject: Subject, case: Case) -> Trial:
    """A channel is scaled by one number."""
    return (yield from _constant(subject, case, subject.law("gate_is_constant_over_space", case).axes))


@check(
    "law",
    "one gate for all channels of a pixel",
    applies=needs_law("gate_is_constant_over_channels"),
    options="all",
    rank=34,
)
def gate_is_constant_over_channels(subject: Subject, case: Case) -> Trial:
    """A pixel is scaled by one number."""
    return (yield from _constant(subject, case, subject.law("gate_is_constant_over_channels", case).axes))


def _constant(subject: Subject, case: Case, axes: tuple[str, ...]) -> Trial:
    ask = subject.ask(case)
    found = positions(subject, ask, axes)
    if found is None:
        return NotJudged(f"no input has {', '.join(axes)}")
    x = make(ask.inputs[found[0]])
    (answer,) = yield [ask]
    if answer.out.shape != x.shape:
        return NotJudged("the output has another shape")
    factor = gate(answer.out, x, tuple(place for _, place in found[1]))
    return agree(
        answer.out, factor * x, f"an output that is one gate times the input along {', '.join(axes)}"
    )


@check(
    "law", "the gate sees only the mean", applies=needs_law("gate_sees_only_the_mean"), options="all", rank=35
)
def gate_sees_only_the_mean(subject: Subject, case: Case) -> Trial:
    """An image of the same means gets the same gate."""
    law = subject.law("gate_sees_only_the_mean", case)
    ask = subject.ask(case)
    found = positions(subject, ask, law.axes)
    if found is None:
        return NotJudged("no input has height and width")
    other = ask
    for _, place in found[1]:
        other = other.edit(found[0], "mean", place)
    return (yield from _same_gate(ask, other, found[0], tuple(place for _, place in found[1])))


@check(
    "law",
    "the gate sees only mean and maximum",
    applies=needs_law("gate_sees_only_mean_and_maximum"),
    options="all",
    rank=35,
)
def gate_sees_only_mean_and_maximum(subject: Subject, case: Case) -> Trial:
    """An image of the same means and maxima gets the same gate."""
    law = subject.law("gate_sees_only_mean_and_maximum", case)
    ask = subject.ask(case)
    found = positions(subject, ask, law.axes)
    if found is None:
        return NotJudged("no input has height and width")
    first = found[1][0][1]
    other = ask.edit(found[0], "level", first).edit(found[0], "shuffle", first, case.seed)
    return (yield from _same_gate(ask, other, found[0], tuple(place for _, place in found[1])))


def _same_gate(ask: Ask, other: Ask, name: str, over: tuple[int, ...]) -> Trial:
    answer, changed = yield [ask, other]
    if answer.out.shape != make(ask.inputs[name]).shape:
        return NotJudged("the output has another shape")
    before, after = (
        gate(answer.out, make(ask.inputs[name]), over),
        gate(changed.out, make(other.inputs[name]), over),
    )
    return agree(after, before, "the gate of the other image")


def _moves(first: Tensor, second: Tensor, what: str) -> Judgement:
    if first.shape != second.shape or bool((first - second).abs().max() > 1e-9):
        return None
    return Mismatch(f"a gate that changes with {what}", "the same gate", kind="blind")


@check(
    "law",
    "the gate depends on the input",
    applies=needs_law("gate_depends_on_the_input"),
    options="all",
    rank=36,
)
def gate_depends_on_the_input(subject: Subject, case: Case) -> Trial:
    """A larger input gets another gate. Positive layers keep every unit of the gate awake."""
    law = subject.law("gate_depends_on_the_input", case)
    ask = _awake(subject, subject.ask(case), law.inputs[0], law.parameters)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    once, twice = yield [ask, ask.edit(law.inputs[0], "scale", None, 2.0)]
    if not once.out.numel():
        return NotJudged("the output is empty")
    return _moves(once.out * 2, twice.out, "the input")


@check(
    "law",
    "the gate depends on the maximum",
    applies=needs_law("gate_depends_on_the_maximum"),
    options="all",
    rank=36,
)
def gate_depends_on_the_maximum(subject: Subject, case: Case) -> Trial:
    """An image with the same means and lower maxima gets another gate."""
    law = subject.law("gate_depends_on_the_maximum", case)
    ask = _awake(subject, subject.ask(case), law.inputs[0], law.parameters)
    missing = lacks(subject, ask, law.parameters)
    found = positions(subject, ask, law.axes)
    if missing or found is None:
        return missing or NotJudged(f"no input has {', '.join(law.axes)}")
    even = ask
    for _, place in found[1]:
        even = even.edit(found[0], "mean", place)
    over = tuple(place for _, place in found[1])
    uneven, level = yield [ask, even]
    if uneven.out.shape != make(ask.inputs[found[0]]).shape or not uneven.out.numel():
        return NotJudged("the output has another shape")
    return _moves(
        gate(uneven.out, make(ask.inputs[found[0]]), over),
        gate(level.out, make(even.inputs[found[0]]), over),
        "the maximum",
    )


def _awake(subject: Subject, ask: Ask, image: str, layers: tuple[str, ...]) -> Ask:
    # Small inputs, and sums of as much as twelve terms: more that are positive drive every sigmoid to its end.
    small = ask.edit(image, "absolute").edit(image, "scale", None, 0.1)
    for name in (name for layer in layers for name in owned(subject, ask, layer)):
        terms = math.prod(ask.parameters[name].shape[1:])
        small = small.edit(name, "absolute").edit(name, "scale", None, min(1.0, 12 / terms))
    return small


CHECKS = (
    gate_is_between_zero_and_one,
    keeps_sign,
    zero_input_gives_zero,
    gate_is_constant_over_space,
    gate_is_constant_over_channels,
    gate_sees_only_the_mean,
    gate_sees_only_mean_and_maximum,
    gate_depends_on_the_input,
    gate_depends_on_the_maximum,
)
