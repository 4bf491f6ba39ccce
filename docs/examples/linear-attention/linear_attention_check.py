"""A law that attncheck does not know: an average lies between the values."""

from attncheck.checks.check import Mismatch, NotJudged, Trial, check, needs_law
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.subject import Subject


@check("law", "the output lies between the values", applies=needs_law("stays_within_the_values"))
def stays_within_the_values(subject: Subject, case: Case) -> Trial:
    """In every feature, no output is above the largest value or below the smallest."""
    ask = subject.ask(case)
    (answer,) = yield [ask]
    if not answer.out.numel() or not case.sizes["kv_len"]:
        return NotJudged("there is no value to lie between")
    v = make(ask.inputs["v"])
    above = float((answer.out - v.amax(-2, keepdim=True)).max())
    below = float((v.amin(-2, keepdim=True) - answer.out).max())
    # An average of n values in float64 is off by some n·1e-16 of the largest.
    if max(above, below) <= 1e-9 * float(v.abs().max()):
        return None
    return Mismatch(
        "outputs between the values", f"one is {max(above, below):.3g} outside", gap=max(above, below)
    )
