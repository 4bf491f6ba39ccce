"""The other forms in which inputs may be handed over: valid lengths, masks without heads, one tensor for several."""

from dataclasses import replace

from attncheck.checks.check import NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.checks.oracle import expect
from attncheck.checks.value import with_masks
from attncheck.model.case import Case
from attncheck.targets.legal import of_one_size
from attncheck.targets.masking import without_heads
from attncheck.targets.subject import Subject


def _takes_lengths_too(subject: Subject) -> str | None:
    if subject.masking != "valid_lens" and "valid_lens" in subject.optional:
        return None
    return "the target takes no lengths beside a mask"


@check(
    "value", "valid lengths hide the keys behind them", applies=both(needs_weights, _takes_lengths_too),
    share=0.4, rank=42,
)  # fmt: skip
def lengths_match_the_reference(subject: Subject, case: Case) -> Trial:
    """With a length for each sample, or for each of its queries, the output is the reference's."""
    ask = subject.ask(case.with_options(valid_lens=True))
    varies = subject.interface.varies.get("valid_lens", subject.axes)
    shape = subject.optional["valid_lens"]
    forms = [dims for dims in shape.ranks if all(dim.axis in varies for dim in dims)] or [shape.ranks[-1]]
    sizes = tuple(dim.size(case.names) for dim in forms[case.seed % len(forms)])
    lengths = replace(ask.inputs["valid_lens"], shape=sizes)
    ask = replace(ask, inputs={**ask.inputs, "valid_lens": lengths})
    (answer,) = yield [ask]
    return agree(answer.out, expect(subject, ask).out, "the output with valid lengths")


def _takes_two_masks(subject: Subject) -> str | None:
    lengths = subject.masking == "mask" and "valid_lens" in subject.optional
    if subject.interface.pads or (lengths and not {"mask", "valid_lens"} <= set(subject.interface.exclusive)):
        return None
    return "the target takes one mask"


@check(
    "value", "a mask and what hides keys from every query hold together",
    applies=both(needs_weights, _takes_two_masks), share=0.3, rank=42,
)  # fmt: skip
def masks_hold_together(subject: Subject, case: Case) -> Trial:
    """A query attends to what both the mask and the sample's padding or length let it attend to."""
    case = replace(case, masking="mixed_mask")
    # Padding is part of the mask, which its adapter takes apart.
    ask = subject.ask(case if subject.interface.pads else case.with_options(valid_lens=True))
    (answer,) = yield [ask]
    return agree(answer.out, expect(subject, ask).out, "the output under both masks")


def _takes_other_ranks(subject: Subject) -> str | None:
    # An adapter that was found lays a mask out as the target wants it, whatever its rank was.
    if subject.masking != "mask" or "mask" in subject.interface.varies:
        return "the target takes masks of one rank"
    return None if len(subject.optional["mask"].ranks) > 1 else "the mask has one rank"


@check(
    "value", "a mask may lack the axis that all share", applies=both(needs_weights, _takes_other_ranks),
    share=0.3, rank=42, judges_trouble=True,
)  # fmt: skip
def masks_of_lower_rank_match(subject: Subject, case: Case) -> Trial:
    """A mask of rank 3 belongs to a sample and all of its heads, as the reference reads it."""
    if case.seed % 2 == 0:
        # As many samples as heads: a mask of heads fits where one of samples belongs.
        case = case.with_sizes(batch=case.sizes.get("heads", case.sizes["batch"]))
    ask = subject.ask(masked(subject, case, "random_mask"))
    ask = without_heads(subject, ask, case)
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"the target takes no such mask: {answer.trouble}")
    return agree(
        answer.out, expect(subject, ask).out, f"the output for a mask of rank {len(ask.inputs['mask'].shape)}"
    )


def _takes_other_forms(subject: Subject) -> str | None:
    return None if subject.interface.also else "the target takes its inputs in one form"


@check(
    "value", "keys and values may belong to all queries or to one each", applies=both(needs_weights, _takes_other_forms),
    share=0.4, rank=42,
)  # fmt: skip
def inputs_of_other_ranks_match(subject: Subject, case: Case) -> Trial:
    """In every other form in which inputs are taken, the output is the reference's."""
    forms = subject.interface.also
    ranks = forms[case.seed % len(forms)]
    ask = replace(subject, interface=replace(subject.interface, ranks=ranks)).ask(case)
    (answer,) = yield [ask]
    said = ", ".join(f"{name} of rank {rank}" for name, rank in ranks.items())
    return agree(answer.out, expect(subject, ask).out, f"the output for {said}")


def _takes_several(subject: Subject) -> str | None:
    several = [n for n, shape in subject.inputs.items() if shape.kind == "float"]
    return None if len(several) > 1 else "the target takes one tensor"


@check(
    "value", "one tensor may stand for several inputs", applies=both(needs_weights, _takes_several),
    share=0.3, rank=42,
)  # fmt: skip
def one_tensor_for_several_matches(subject: Subject, case: Case) -> Trial:
    """Queries that are keys and values, or keys that are values: handed over for each, or left out where they may be."""
    inputs = {n: shape for n, shape in subject.inputs.items() if shape.kind == "float"}
    equal = of_one_size(subject, case)
    if equal is None:
        return NotJudged("no two inputs can have one shape")
    ask = subject.ask(with_masks(subject, equal))
    # Queries apart, by turns, where keys and values are two inputs.
    several = list(inputs)[1 if len(inputs) > 2 and case.seed % 2 else 0 :]
    alike = dict.fromkeys(several, ask.inputs[several[0]])
    ask = replace(ask, inputs={**ask.inputs, **alike}, scenario="as_one")
    (answer,) = yield [ask]
    expected = expect(subject, ask).out
    judgement = agree(answer.out, expected, f"the output for one tensor as {' and '.join(several)}")
    if judgement or not subject.interface.spare or several[0] != next(iter(inputs)):
        return judgement
    (answer,) = yield [replace(ask, scenario="left_out")]
    return agree(answer.out, expected, f"the output without {' and '.join(subject.interface.spare)}")


CHECKS = (
    lengths_match_the_reference,
    masks_hold_together,
    masks_of_lower_rank_match,
    inputs_of_other_ranks_match,
    one_tensor_for_several_matches,
)
