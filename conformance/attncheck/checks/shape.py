"""The target runs at every legal size, and what comes back has the right shape, dtype and device."""

import re
from dataclasses import replace

from attncheck.checks.check import Judgement, Mismatch, NotJudged, Trial, check, excused, needs_mask, raised
from attncheck.model.case import Case
from attncheck.targets.ask import Trouble
from attncheck.targets.legal import at_first
from attncheck.targets.subject import Subject, rank_for


@check("shape", "a call with legal sizes returns", basic=True, judges_trouble=True, options="all", rank=1)
def runs_at_every_legal_size(subject: Subject, case: Case) -> Trial:
    """Whatever the contract allows can be constructed and called, one size of each axis included."""
    (answer,) = yield [subject.ask(case)]
    if answer.trouble is None:
        return None
    # What the constructor was seen to accept when the adapter was found, it accepts; unless rules are known.
    seen = at_first(subject, case) and not subject.interface.refuses
    if answer.trouble.stage == "constructor" and not answer.trouble.lost and not seen:
        return NotJudged(f"the constructor refuses: {answer.trouble}")
    return excused(subject, case, answer.trouble) or raised(answer.trouble)


@check("shape", "the output has the shape of the contract", basic=True, options="all", rank=2)
def output_has_the_right_shape(subject: Subject, case: Case) -> Trial:
    """Every axis of the output has the size that the reference's annotation gives it."""
    (answer,) = yield [subject.ask(case)]
    shape = subject.signature["out"]
    names = {**case.names, **subject.interface.fixed}
    dims = rank_for(shape, case.sizes, case.options)
    expected = tuple(dim.size(names) for dim in dims)
    actual = tuple(answer.out.shape)
    if actual == expected:
        return None
    axes = ", ".join(dim.axis or dim.expression for dim in dims)
    return Mismatch(f"({axes}) = {expected}", f"{actual}", kind="wrong shape")


@check("shape", "the output has the dtype of the inputs", share=0.2, rank=4)
def output_keeps_the_dtype(subject: Subject, case: Case) -> Trial:
    """float64, float32, bfloat16 and float16 go in and come out; masks are given where they are taken."""
    for dtype in subject.dtypes:
        masking = "random_mask" if subject.masking and case.seed % 2 else ""
        (answer,) = yield [subject.ask(replace(case, dtype=dtype, masking=_allowed(subject, masking)))]
        if answer.trouble is not None and answer.trouble.stage == "constructor":
            return NotJudged(f"the constructor refuses: {answer.trouble}")
        if answer.trouble is not None and (excuse := excused(subject, case, answer.trouble)):
            return excuse
        if _fills_beyond(dtype, answer.trouble) or _lacks_an_operator(answer.trouble):
            continue
        judgement = _same_dtype(dtype, answer.trouble, None if answer.trouble else str(answer.out.dtype))
        if judgement:
            return judgement
    return None


output_keeps_the_dtype = replace(output_keeps_the_dtype, judges_trouble=True)


def _same_dtype(dtype: str, trouble: Trouble | None, actual: str | None) -> Judgement:
    if trouble is not None:
        return Mismatch(f"a result in {dtype}", f"{trouble}", kind=f"raises in {dtype}")
    if actual == f"torch.{dtype}":
        return None
    return Mismatch(f"dtype {dtype}", f"{actual}", kind="wrong dtype")


def _fills_beyond(dtype: str, trouble: Trouble | None) -> bool:
    """Whether a number that is written in the source is what float16 does not hold."""
    return dtype == "float16" and trouble is not None and "without overflow" in trouble.message


def _lacks_an_operator(trouble: Trouble | None) -> bool:
    """Whether torch itself has nothing to compute this with in half precision."""
    return (
        trouble is not None
        and re.search(r"not implemented for '(Half|BFloat16)'", trouble.message) is not None
    )


def _masks_in_float16(subject: Subject) -> str | None:
    return needs_mask(subject) or (None if "float16" in subject.dtypes else "float16 was not asked for")


@check(
    "shape", "a mask works in float16", applies=_masks_in_float16, share=0.1, rank=6, judges_trouble=True,
    deviation="hidden logits get a number that float16 does not hold, and the call raises",
)  # fmt: skip
def masks_work_in_float16(subject: Subject, case: Case) -> Trial:
    """A call with a mask returns in float16: what hidden logits are filled with is no larger than 65504."""
    ask = subject.ask(replace(case, dtype="float16", masking=_allowed(subject, "random_mask")))
    (answer,) = yield [ask]
    if answer.trouble is None:
        return None
    if _fills_beyond("float16", answer.trouble):
        return Mismatch("a result in float16", f"{answer.trouble}", kind="raises in float16")
    return NotJudged(f"no result in float16, whatever hides a key: {answer.trouble}")


def _halves(subject: Subject) -> tuple[str, ...]:
    return tuple(dtype for dtype in subject.dtypes if dtype in ("bfloat16", "float16"))


@check(
    "shape", "torch has every operator of it in half precision", share=0.1, rank=6, judges_trouble=True,
    applies=lambda subject: None if _halves(subject) else "half precision was not asked for",
    deviation="torch lacks one of its operators in half precision on this device, and the call raises",
)  # fmt: skip
def operators_exist_in_half_precision(subject: Subject, case: Case) -> Trial:
    """No operator is one that torch has for float32 and float64 alone."""
    for dtype in _halves(subject):
        (answer,) = yield [subject.ask(replace(case, dtype=dtype))]
        if _lacks_an_operator(answer.trouble):
            return Mismatch(f"a result in {dtype}", f"{answer.trouble}", kind=f"raises in {dtype}")
    return None


def _allowed(subject: Subject, masking: str) -> str:
    kinds = subject.interface.maskings
    return masking if not masking or not kinds or masking in kinds else kinds[0]


@check("shape", "the output is on the device of the inputs", share=0.1, rank=5)
def output_stays_on_the_device(subject: Subject, case: Case) -> Trial:
    """What goes in on one device comes back from the same."""
    (answer,) = yield [subject.ask(case)]
    actual = str(answer.facts.get("device", case.device))
    if actual.split(":")[0] == case.device.split(":")[0]:
        return None
    return Mismatch(f"device {case.device}", actual, kind="wrong device")


CHECKS = (
    runs_at_every_legal_size,
    output_has_the_right_shape,
    output_keeps_the_dtype,
    masks_work_in_float16,
    operators_exist_in_half_precision,
    output_stays_on_the_device,
)
