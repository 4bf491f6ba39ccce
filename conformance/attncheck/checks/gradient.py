"""Gradients: the reference's values, none missing, none leaking from sample to sample."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attncheck.checks.check import (
    Judgement,
    Mismatch,
    NotJudged,
    Trial,
    both,
    check,
    needs_law,
    needs_mask,
    needs_weights,
)
from attncheck.checks.comparing import ROUNDINGS, agree
from attncheck.checks.dead_rows import dead_row_ask, refused
from attncheck.checks.layers import lacks, on_layers, owned
from attncheck.checks.masking import masked
from attncheck.checks.oracle import attempted, expect
from attncheck.checks.value import with_masks
from attncheck.model.case import Case
from attncheck.strategies.tolerance import ROUNDOFF
from attncheck.targets.adapter import MEMORY
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.subject import Subject

# Laws of layers that are zero at birth, so that a fresh block gives its input.
_AT_BIRTH = (
    "zero_gamma_gives_the_input",
    "zero_output_gives_the_input",
    "zero_norm_gives_the_rectified_input",
)


def differentiable(subject: Subject) -> tuple[str, ...]:
    """Inputs that are handed over in every call and can have a gradient."""
    return tuple(n for n, shape in subject.inputs.items() if shape.kind == "float")


@check(
    "gradient",
    "gradients of the inputs are the reference's",
    applies=needs_weights,
    options="all",
    rank=50,
)
def input_gradients_match(subject: Subject, case: Case) -> Trial:
    """A random cotangent is carried back to every input as the reference carries it."""
    wanted = differentiable(subject)
    ask = subject.ask(with_masks(subject, case), gradients=wanted)
    judgement = yield from _same_gradients(subject, ask, wanted)
    if judgement is not None or case.seed % 2:
        return judgement
    # By turns one alone as well: what only works when everything requires a gradient shows.
    alone = (wanted[case.seed // 2 % len(wanted)],)
    return (yield from _same_gradients(subject, replace(ask, gradients=alone), alone))


def _has_parameters(subject: Subject) -> str | None:
    return None if subject.mechanism.module is not None else "the mechanism has no parameters"


@check(
    "gradient",
    "gradients of the parameters are the reference's",
    applies=both(_has_parameters, needs_weights),
    share=0.5,
    rank=51,
)
def parameter_gradients_match(subject: Subject, case: Case) -> Trial:
    """Every parameter learns, and in the reference's direction."""
    ask = subject.ask(with_masks(subject, case))
    trained = learned(subject, ask)
    return (yield from _same_gradients(subject, replace(ask, gradients=trained), trained))


def learned(subject: Subject, ask: Ask) -> tuple[str, ...]:
    """Parameters of the reference whose gradients the target's own tensors have."""
    missing = subject.interface.identity
    # The gradient of what several heads share is the sum of theirs, which no tensor of the reference has.
    missing += tuple(n for n in ask.parameters if subject.interface.shared and n.startswith(MEMORY))
    return tuple(
        n
        for n in ask.parameters
        if not (subject.lacks(n) or subject.goes(n, ask.names) or n in missing or "running" in n)
    )


def _takes_bias(subject: Subject) -> str | None:
    return None if "bias" in subject.optional else "the target takes no bias"


@check(
    "gradient", "the gradient of a bias is the reference's", applies=both(_takes_bias, needs_weights),
    share=0.2, rank=51,
)  # fmt: skip
def bias_gradients_match(subject: Subject, case: Case) -> Trial:
    """A bias that is handed over can be learned, as the positions of many a model are."""
    ask = subject.ask(case.with_options(bias=True), gradients=("bias",))
    return (yield from _same_gradients(subject, ask, ("bias",)))


@check(
    "gradient",
    "training gives the reference's values and gradients",
    applies=needs_weights,
    share=0.3,
    rank=51,
)
def trains_like_the_reference(subject: Subject, case: Case) -> Trial:
    """In training mode, without dropout and with gradients recorded, output and gradients are the reference's too."""
    if subject.norms_batches and case.seed % 4 == 3:
        # The pixels of one sample are batch enough for most norms.
        case = case.with_sizes(batch=1)
    wanted = differentiable(subject)
    ask = subject.ask(with_masks(subject, case), gradients=wanted)
    training = replace(ask, train=True)
    if subject.norms_batches and attempted(subject, training).trouble is not None:
        return NotJudged("batch norm has a single value to learn from")
    evaluated, trained = yield [ask, training]
    if _compared(ask, evaluated, expect(subject, ask), wanted) is not None:
        return NotJudged("eval mode is wrong too, which another check reports")
    return _compared(training, trained, expect(subject, training), wanted)


def _same_gradients(subject: Subject, ask: Ask, names: tuple[str, ...]) -> Trial:
    (answer,) = yield [ask]
    expected = expect(subject, ask)
    if agree(answer.out, expected.out) is not None:
        return NotJudged("the values are wrong, which another check reports")
    return _compared(ask, answer, expected, names)


def _compared(ask: Ask, answer: Answer, reference: Answer, names: tuple[str, ...]) -> Judgement:
    """The output, and each gradient that the reference has."""
    judgement = agree(answer.out, reference.out, "the output in training mode" if ask.train else "the output")
    if judgement is not None:
        return judgement
    expected = reference.tensors
    for name in names:
        wanted, given = expected.get(f"grad.{name}"), answer.tensors.get(f"grad.{name}")
        if wanted is None:
            continue
        if given is None:
            if float(wanted.abs().max() if wanted.numel() else 0.0) < 1e-12:
                continue
            return Mismatch(f"a gradient of {name}", "None", kind="no gradient")
        judgement = agree(given, wanted, f"the gradient of {name}")
        # A gradient that is next to nothing, by law or by chance, is judged beside what flows elsewhere.
        if judgement is not None and not (
            given.shape == wanted.shape and _negligible(given - wanted, expected)
        ):
            return judgement
    return None


def _negligible(error: Tensor, expected: Mapping[str, Tensor]) -> bool:
    """Whether an error is of the size of roundings of what flows."""
    flowing = [float(t.abs().max()) for n, t in expected.items() if n.startswith("grad.") and t.numel()]
    # What computes in float32 inside is right in float64 too, and its zero is a sum of such roundings.
    share = ROUNDINGS * max(ROUNDOFF[torch.float32], ROUNDOFF[error.dtype])
    return not error.numel() or float(error.abs().max()) <= share * max([*flowing, 1e-3])


@check(
    "gradient",
    "no sample moves another's gradient",
    applies=needs_law("samples_do_not_mix"),
    share=0.4,
    rank=52,
)
def gradients_do_not_mix(subject: Subject, case: Case) -> Trial:
    """The gradient of a sample is what it would be alone."""
    names = differentiable(subject)
    size = case.sizes["batch"]
    if size < 2:
        return NotJudged("batch is 1")
    chosen = case.seed % size
    ask = subject.ask(masked(subject, case), gradients=names)
    other = ask
    for name in names:
        place = subject.position(ask, name, "batch")
        if place is not None:
            rest = (chosen + 1) % size
            other = other.edit(name, "renew_at", place, (rest, case.seed + 31))
    before, after = yield [ask, other]
    for name in names:
        place = subject.position(ask, name, "batch")
        if place is None or f"grad.{name}" not in before.tensors:
            continue
        first = before.tensors[f"grad.{name}"].narrow(place, chosen, 1)
        second = after.tensors[f"grad.{name}"].narrow(place, chosen, 1)
        judgement = agree(second, first, f"the gradient of sample {chosen} of {name} after changing another")
        if judgement:
            return judgement
    return None


@check(
    "gradient",
    "a fully masked row spoils no gradient",
    applies=needs_mask,
    judges_trouble=True,
    share=0.3,
    rank=53,
)
def dead_rows_leave_gradients_finite(subject: Subject, case: Case) -> Trial:
    """If a query that may attend to nothing gets finite values, all gradients are finite too."""
    names = differentiable(subject)
    if case.sizes["batch"] < 1:
        return NotJudged("there is no row")
    (answer,) = yield [replace(dead_row_ask(subject, case), gradients=names)]
    if answer.trouble is not None:
        return refused(subject, answer)
    if not bool(answer.out.isfinite().all()):
        return NotJudged("the row itself gives NaN, which is a convention")
    return _finite(answer, names)


@check(
    "gradient",
    "zeros and what coincides spoil no gradient",
    applies=needs_weights,
    share=0.15,
    rank=52,
)
def zeros_leave_gradients_finite(subject: Subject, case: Case) -> Trial:
    """Where inputs are zero, and so equal to each other, all gradients are finite, as after a root they are not."""
    ask = subject.ask(case)
    names = differentiable(subject)
    for name in names:
        ask = ask.edit(name, "zero")
    names += learned(subject, ask)
    (answer,) = yield [replace(ask, gradients=names)]
    if not bool(answer.out.isfinite().all()):
        return NotJudged("the values are not finite, which another check reports")
    return _finite(answer, names)


def _zero_at_birth(subject: Subject) -> str | None:
    if any(subject.laws(law) for law in _AT_BIRTH):
        return None
    return f"learns_from_zero is no law of {subject.mechanism.id}"


@check(
    "gradient",
    "what is zero at birth learns",
    applies=both(_zero_at_birth, needs_weights),
    share=0.15,
    rank=52,
)
def learns_from_zero(subject: Subject, case: Case) -> Trial:
    """A factor or last layer of zero lets the input pass, and has the gradient that makes it grow."""
    stated = [law for name in _AT_BIRTH for law in subject.stated(name, case)]
    if not stated:
        return NotJudged("nothing is zero at birth")
    layers, ask = stated[0].parameters, subject.ask(case)
    missing = lacks(subject, ask, layers)
    if missing:
        return missing
    mine = {name for layer in layers for name in owned(subject, ask, layer)}
    names = tuple(name for name in learned(subject, ask) if name in mine)
    zeroed = on_layers(subject, ask, layers, "zero")
    return (yield from _same_gradients(subject, replace(zeroed, gradients=names), names))


def _finite(answer: Answer, names: Sequence[str]) -> Judgement:
    for name in names:
        given = answer.tensors.get(f"grad.{name}")
        if given is not None and not bool(given.isfinite().all()):
            return Mismatch(f"finite gradients of {name}", "NaN or infinity", kind="NaN")
    return None


CHECKS = (
    input_gradients_match,
    parameter_gradients_match,
    bias_gradients_match,
    trains_like_the_reference,
    gradients_do_not_mix,
    dead_rows_leave_gradients_finite,
    zeros_leave_gradients_finite,
    learns_from_zero,
)
