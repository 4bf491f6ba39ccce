"""Strides: the same values in another order of memory get the same answer."""

from dataclasses import replace

from attncheck.checks.check import Check, Mismatch, NotJudged, Trial, check, excused, raised
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.model.case import Case
from attncheck.model.recipe import Layout
from attncheck.targets.ask import Ask, Trouble
from attncheck.targets.subject import Subject


def _strided(layout: Layout, name: str) -> Check:
    def judge(subject: Subject, case: Case) -> Trial:
        # Strides of zero make every sample the first one; its twin is the same in plain memory.
        twin: Layout = "expanded_copy" if layout == "expanded" else "contiguous"
        ask = subject.ask(masked(subject, case))
        usual, unusual = yield [_laid_out(ask, case.dtype, twin), _laid_out(ask, case.dtype, layout)]
        if _wants_a_view(unusual.trouble):
            return NotJudged("a view is refused, which another check reports")
        if usual.trouble or unusual.trouble:
            return _refused(subject, case, usual.trouble, unusual.trouble)
        return agree(unusual.out, usual.out, f"the answer for {layout} inputs", tolerance=1e-9)

    judge.__name__ = name
    judge.__doc__ = f"Inputs with {layout} strides hold the same values and get the same answer."
    claim = f"strides do not matter ({layout})"
    return check("hygiene", claim, share=0.3, rank=70, asks="memory", judges_trouble=True)(judge)


def _refused(
    subject: Subject, case: Case, usual: Trouble | None, unusual: Trouble | None
) -> Mismatch | NotJudged:
    """What is raised for these strides alone; the rest is for other checks to say."""
    if usual is not None or unusual is None:
        return NotJudged(f"without strides it raises as well: {usual}")
    return excused(subject, case, unusual) or raised(unusual)


def _laid_out(ask: Ask, dtype: str, layout: Layout) -> Ask:
    """The question with its numbers in memory of that layout."""
    floats = {n: replace(r, layout=layout) for n, r in ask.inputs.items() if r.dtype == dtype}
    return replace(ask, inputs={**ask.inputs, **floats})


def _wants_a_view(trouble: Trouble | None) -> bool:
    """Whether torch itself refuses a view of memory in that order."""
    return trouble is not None and "view size is not compatible" in trouble.message


@check(
    "hygiene", "no order of memory is refused", share=0.2, rank=71, asks="memory", judges_trouble=True,
    deviation="it takes a view of what it is given, which torch refuses for some strides, and the call raises",
)  # fmt: skip
def views_any_memory(subject: Subject, case: Case) -> Trial:
    """Where torch can only copy, `reshape` does so and `view` raises."""
    ask = subject.ask(masked(subject, case))
    layouts: tuple[Layout, ...] = ("transposed", "channels_last", "expanded")
    answers = yield [_laid_out(ask, case.dtype, layout) for layout in layouts]
    refused = next((a.trouble for a in answers if _wants_a_view(a.trouble)), None)
    return None if refused is None else Mismatch("a result", str(refused), kind=f"raises {refused.kind}")


takes_transposed_inputs = _strided("transposed", "takes_transposed_inputs")
takes_offset_inputs = _strided("offset", "takes_offset_inputs")
takes_expanded_inputs = _strided("expanded", "takes_expanded_inputs")
takes_channels_last_inputs = _strided("channels_last", "takes_channels_last_inputs")


CHECKS = (
    takes_transposed_inputs,
    takes_offset_inputs,
    takes_expanded_inputs,
    takes_channels_last_inputs,
    views_any_memory,
)
