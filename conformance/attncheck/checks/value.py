"""The output equals the reference's, with the same weights: in float64, and as well as a dtype can."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from attncheck.checks.budget import moved_by_rounding, within_budget
from attncheck.checks.check import Applies, Judgement, Mismatch, NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.checks.oracle import expect, in_float64
from attncheck.model.case import Case, Scalar
from attncheck.strategies.tensors import DTYPES
from attncheck.strategies.tolerance import PRECISE
from attncheck.targets.legal import dead_rows, has_dead_rows, resized
from attncheck.targets.subject import Subject


def with_masks(subject: Subject, case: Case) -> Case:
    """The case with a mask by turns, such that no row is left without a visible key."""
    if case.options.get("causal") or subject.interface.fixed.get("causal"):
        exclusive = "causal" in subject.interface.exclusive
        return masked(subject, case, "" if exclusive else ("", "padding_mask")[case.seed % 2])
    return masked(subject, case)


def squared(subject: Subject, case: Case) -> Case:
    """The case with as many queries as keys, where both can be chosen."""
    if "q_len" not in case.sizes:
        return case
    return resized(subject, case, {"q_len": case.sizes["kv_len"]}) or case


def living(subject: Subject, names: Mapping[str, Scalar], out: Tensor) -> Tensor:
    """The rows of an output that see a key; what the others give is a convention."""
    dead, place = dead_rows(names), subject.output_axis("q_len")
    if place is None:
        return out
    # A check may have made the question shorter than its sizes say.
    kept = max(0, out.shape[place] - dead)
    return out.narrow(place, out.shape[place] - kept, kept)


@check("value", "the output is the reference's", applies=needs_weights, options="all", rank=40)
def matches_the_reference(subject: Subject, case: Case) -> Trial:
    """With the reference's weights, the output is the reference's for every option and mask."""
    alive = not has_dead_rows(subject, case)
    ask = subject.ask(with_masks(subject, case) if alive else case)
    (answer,) = yield [ask]
    expected = expect(subject, ask).out
    if alive or answer.out.shape != expected.shape:
        return agree(answer.out, expected)
    actual, expected = (living(subject, ask.names, out) for out in (answer.out, expected))
    return agree(actual, expected, "the rows that see a key")


# Inputs of which logits are made.
_OF_LOGITS = {"q", "k", "queries", "keys", "scores"}


@check("value", "zeros are numbers like any other", applies=needs_weights, share=0.2, rank=43)
def zeros_match_the_reference(subject: Subject, case: Case) -> Trial:
    """The output is the reference's for rectified inputs whose last key, column and channel are zero, and for logits of zero."""
    ask = subject.ask(with_masks(subject, case))
    for name, recipe in ask.inputs.items():
        if recipe.dtype != ask.dtype:
            continue
        if case.seed % 2 and set(subject.interface.inputs.get(name, ())) & _OF_LOGITS:
            ask = ask.edit(name, "zero")
            continue
        ask = ask.edit(name, "rectify")
        for axis in (subject.keys_axis, "width", "channels"):
            place = subject.position(ask, name, axis) if axis else None
            if place is not None and recipe.shape[place] > 1:
                ask = ask.edit(name, "put", place, (recipe.shape[place] - 1, 0.0))
    (answer,) = yield [ask]
    out, expected = (living(subject, ask.names, t) for t in (answer.out, expect(subject, ask).out))
    return agree(out, expected, "the output for inputs with zeros")


@check("value", "numbers below zero are numbers like any other", applies=needs_weights, share=0.2, rank=43)
def negatives_match_the_reference(subject: Subject, case: Case) -> Trial:
    """The output is the reference's where every input is negative, so that a maximum begun at zero shows."""
    ask = subject.ask(with_masks(subject, case))
    for name, recipe in ask.inputs.items():
        if recipe.dtype == ask.dtype:
            ask = ask.edit(name, "absolute").edit(name, "add", None, 0.25).edit(name, "scale", None, -1.0)
    (answer,) = yield [ask]
    out, expected = (living(subject, ask.names, t) for t in (answer.out, expect(subject, ask).out))
    return agree(out, expected, "the output for inputs below zero")


def _computes_in_float64(subject: Subject) -> str | None:
    return None if subject.interface.dtype == "float64" else "the target does not compute in float64"


@check(
    "value",
    "what is computed in float64 keeps its precision",
    applies=both(needs_weights, _computes_in_float64),
    share=0.5,
    rank=45,
    deviation="softmax_precision: float32",
)
def keeps_float64_precision(subject: Subject, case: Case) -> Trial:
    """Nothing on the way is rounded to a lower precision."""
    ask = subject.ask(with_masks(subject, case))
    (answer,) = yield [ask]
    expected = expect(subject, ask).out
    if agree(answer.out, expected) is not None:
        return NotJudged("the values are wrong, which another check reports")
    return agree(answer.out, expected, tolerance=PRECISE)


def _takes_bias(subject: Subject) -> str | None:
    return None if "bias" in subject.optional else "the target takes no bias"


@check(
    "value",
    "a bias is added to the scaled logits",
    applies=both(needs_weights, _takes_bias),
    share=0.4,
    rank=42,
)
def adds_its_bias(subject: Subject, case: Case) -> Trial:
    """Numbers handed over as a bias join the logits after scale and soft cap, unscaled and uncapped."""
    if case.seed % 3 == 0:
        # As many queries as keys: a bias that is read the other way round fits.
        case = squared(subject, case)
    capped = "soft_cap" in subject.interface.takes and case.seed % 2
    ask = subject.ask(case.with_options(bias=True, **({"soft_cap": 2.0} if capped else {})))
    (answer,) = yield [ask]
    return agree(answer.out, expect(subject, ask).out, "the output with a bias")


def _gives_weights(subject: Subject) -> str | None:
    return None if "weights" in subject.interface.gives else "the target returns no weights"


@check(
    "value",
    "the weights are the reference's",
    applies=both(needs_weights, _gives_weights),
    share=0.5,
    rank=41,
)
def weights_match_the_reference(subject: Subject, case: Case) -> Trial:
    """The attention weights that come back are those that made the output, causal ones too."""
    if "causal" in subject.interface.takes and case.seed % 2:
        case = case.with_options(causal=True)
    ask = subject.ask(with_masks(subject, case))
    ask = replace(ask, options={**ask.options, "need_weights": True})
    (answer,) = yield [ask]
    if "weights" not in answer.tensors:
        return Mismatch("attention weights", "none came back")
    expected = expect(subject, ask).tensors["weights"]
    if subject.interface.conventions.get("weights_returned") == "averaged":
        expected = expected.mean(1)
    return agree(answer.tensors["weights"], expected, "the weights")


def _supports(dtype: str) -> Applies:
    return lambda subject: None if dtype in subject.dtypes else f"{dtype} was not asked for"


def _in_low_precision(subject: Subject, case: Case, dtypes: Sequence[str]) -> Trial:
    judgements: list[Judgement] = []
    for dtype in dtypes:
        ask = subject.ask(replace(with_masks(subject, case), dtype=dtype))
        (answer,) = yield [ask]
        if answer.trouble is not None or answer.out.dtype != DTYPES[dtype]:
            judgements.append(NotJudged(f"no result in {dtype}, which another check reports"))
            continue
        truth = expect(subject, in_float64(ask)).out
        moved = partial(moved_by_rounding, subject, ask, DTYPES[dtype], truth)
        judgements.append(within_budget(answer.out, expect(subject, ask).out, truth, moved=moved))
    wrong = [judgement for judgement in judgements if isinstance(judgement, Mismatch)]
    if wrong or None in judgements:
        return wrong[0] if wrong else None
    return judgements[0]


@check(
    "value",
    "float32 is as good as float32 can be",
    applies=both(needs_weights, _supports("float32")),
    share=0.4,
    rank=46,
)
def keeps_float32_precision(subject: Subject, case: Case) -> Trial:
    """In float32 the error is of the size of the reference's own in float32."""
    return (yield from _in_low_precision(subject, case, ("float32",)))


@check(
    "value",
    "half precision is as good as it can be",
    applies=both(needs_weights, _supports("bfloat16")),
    share=0.4,
    rank=47,
)
def keeps_half_precision(subject: Subject, case: Case) -> Trial:
    """In bfloat16 and float16 the error is of the size of the reference's own in that dtype."""
    return (
        yield from _in_low_precision(
            subject, case, [d for d in ("bfloat16", "float16") if d in subject.dtypes]
        )
    )


keeps_float32_precision = replace(keeps_float32_precision, judges_trouble=True)
keeps_half_precision = replace(keeps_half_precision, judges_trouble=True)

CHECKS = (
    matches_the_reference,
    zeros_match_the_reference,
    negatives_match_the_reference,
    adds_its_bias,
    weights_match_the_reference,
    keeps_float64_precision,
    keeps_float32_precision,
    keeps_half_precision,
)
