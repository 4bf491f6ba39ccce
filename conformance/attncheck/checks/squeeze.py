"""The edge of squeeze ratios: fewer channels than the ratio are refused, or leave one unit at least."""

from dataclasses import replace

from attncheck.checks.check import Mismatch, NotJudged, Trial, check
from attncheck.checks.gates import gate
from attncheck.model.case import Case
from attncheck.model.errors import NoUnitError
from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import make
from attncheck.targets.subject import Subject

_GATES = ("squeeze_excitation", "cbam_channel")


def _chooses_the_ratio(subject: Subject) -> str | None:
    """Applies to gates over channels whose ratio can be chosen."""
    if subject.mechanism.id not in _GATES:
        return f"gate_keeps_a_unit is no law of {subject.mechanism.id}"
    interface = subject.interface
    if "reduction" in {**interface.derived, **interface.fixed}:
        return "the target fixes its squeeze ratio"
    return None


@check(
    "law", "a gate has a unit at least", applies=_chooses_the_ratio, judges_trouble=True, share=0.1, rank=31
)
def gate_keeps_a_unit(subject: Subject, case: Case) -> Trial:
    """With fewer channels than the ratio the target refuses, or its gate still depends on the input.

    Without a unit between squeeze and excitation every gate is one half, and nothing says so.
    """
    ask = subject.ask(case)
    names = {**ask.names, "channels": 2, "reduction": 4}
    shape = (case.sizes["batch"], 2, case.sizes["height"], case.sizes["width"])
    # Each with its opposite: a unit that sleeps for one of them wakes for the other. Small ones leave a sigmoid
    # between its ends, large ones are beyond any bias.
    scales = (3.0, 1000.0)
    some = [Recipe(shape, "normal", case.seed * 1009 + i, scale=scale) for i, scale in enumerate(scales)]
    inputs = [*some, *(recipe.edit("scale", None, -1.0) for recipe in some)]
    plain = replace(ask, names=names, parameters={}, options={})
    answers = yield [replace(plain, inputs={"x": recipe}) for recipe in inputs]
    if any(answer.trouble is not None and answer.trouble.kind == NoUnitError.__name__ for answer in answers):
        return NotJudged("the target is told the width itself, not a ratio")
    if any(answer.trouble is not None for answer in answers):
        return None
    if any(tuple(answer.out.shape) != shape for answer in answers):
        return NotJudged("the output has another shape")
    gates = [gate(a.out, make(r), (2, 3)) for a, r in zip(answers, inputs, strict=True)]
    if any(float((g - gates[0]).abs().max()) > 1e-9 for g in gates[1:]) or float(gates[0].std()) > 1e-9:
        return None
    return Mismatch(
        "an error, or a gate that depends on the input, for channels=2 and reduction=4",
        f"the gate {float(gates[0].flatten()[0]):.3g} for every input",
        kind="constant gate",
    )


CHECKS = (gate_keeps_a_unit,)
