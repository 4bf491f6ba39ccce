"""Laws of masks: what is hidden has no say, and hiding is the same as leaving out."""

from dataclasses import replace

from attncheck.checks.check import Applies, NotJudged, Trial, both, check, needs_law, needs_mask
from attncheck.checks.comparing import agree
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

MASKINGS = ("", "random_mask", "padding_mask")


def masked(subject: Subject, case: Case, masking: str | None = None) -> Case:
    """The case with a mask where the target takes one: of the given kind, or by turns."""
    if subject.masking is None:
        return case
    wanted = MASKINGS[case.seed % len(MASKINGS)] if masking is None else masking
    return replace(case, masking=possible(subject, wanted))


def keyed(subject: Subject, case: Case) -> Case:
    """The case with a mask, unless the target takes lengths: these stay where they are when keys move."""
    name = subject.masking
    lengths = name is None or subject.interface.prefixes_only or subject.optional[name].kind == "int"
    return case if lengths else masked(subject, case)


def possible(subject: Subject, masking: str) -> str:
    """The kind of mask, or the nearest that can be handed over."""
    kinds = subject.interface.maskings
    if not masking or not kinds or masking in kinds:
        return masking
    return "padding_mask" if "padding_mask" in kinds else kinds[0]


def _law(name: str, *conditions: Applies) -> Applies:
    return both(needs_law(name), needs_mask, *conditions)


@check("law", "hiding a key is the same as leaving it out", applies=_law("masked_equals_removed"), rank=12)
def masked_equals_removed(subject: Subject, case: Case) -> Trial:
    """A sample whose last keys are hidden gets the answer of the shorter sample, alone and unmasked."""
    if case.sizes["kv_len"] < 2 or case.sizes["batch"] < 1:
        return NotJudged("there is no key to spare")
    ask = subject.ask(masked(subject, case, "padding_mask"))
    sample = case.seed % case.sizes["batch"]
    keep = _visible(subject, ask, sample)
    alone = _taken(subject, ask.without(str(subject.masking)), sample)
    shorter = shortened(subject, alone, keep)
    padded, short = yield [ask, shorter]
    whole = padded.out.narrow(0, sample, 1)
    place = subject.output_axis(subject.keys_axis)
    if place is not None:
        whole = whole.narrow(place, 0, min(keep, whole.shape[place]))
    return agree(whole, short.out, f"sample {sample} with its keys from {keep} on hidden")


def _visible(subject: Subject, ask: Ask, sample: int) -> int:
    """How many keys of a sample a padding mask shows."""
    name = str(subject.masking)
    mask = make(ask.inputs[name])
    sample = min(sample, mask.shape[0] - 1)
    if ask.inputs[name].kind == "lengths":
        return int(mask[sample].flatten()[0])
    return int(mask[sample].reshape(-1, mask.shape[-1])[0].sum())


def _taken(subject: Subject, ask: Ask, sample: int) -> Ask:
    return subject.along(ask, "batch", "take", sample)


def shortened(subject: Subject, ask: Ask, keep: int) -> Ask:
    """The question with only the first keys, and no length beyond them."""
    ask = subject.along(ask, subject.keys_axis, "narrow", keep)
    lengths = [name for name, recipe in ask.inputs.items() if recipe.kind == "lengths"]
    return ask.edit(lengths[0], "at_most", None, keep) if lengths else ask


@check("law", "what is behind a mask has no influence", applies=_law("masked_equals_removed"), rank=11)
def hidden_keys_have_no_influence(subject: Subject, case: Case) -> Trial:
    """Keys that nobody may attend to can hold any finite values, large ones too."""
    size = case.sizes["kv_len"]
    if size < 2:
        return NotJudged("there is no key to spare")
    ask = subject.ask(masked(subject, case, "last_key_mask"))
    if ask.inputs[str(subject.masking)].kind == "lengths":
        ask = all_but_last(subject, ask, size)
    place = subject.output_axis(subject.keys_axis)
    inputs = [(n, p) for n, p in subject.places(ask, subject.keys_axis) if n in subject.inputs]
    other = ask
    for name, at in inputs:
        other = other.edit(name, "fill_from", at, (size - 1, 40.0 + case.seed % 7))
    before, after = yield [ask, other]
    first, second = before.out, after.out
    if place is not None:
        # In self-attention the hidden token is a query too, and its own row may change.
        first, second = first.narrow(place, 0, size - 1), second.narrow(place, 0, size - 1)
    return agree(second, first, "the output after changing a hidden key")


def all_but_last(subject: Subject, ask: Ask, size: int) -> Ask:
    """The question with lengths that hide the last of so many keys from every sample."""
    name = str(subject.masking)
    lengths = ask.inputs[name]
    return replace(ask, inputs={**ask.inputs, name: lengths.edit("zero").edit("add", None, size - 1)})


@check("law", "a mask that hides nothing changes nothing", applies=_law("full_mask_changes_nothing"), rank=13)
def full_mask_changes_nothing(subject: Subject, case: Case) -> Trial:
    """With every key visible, the answer is that without a mask."""
    ask = subject.ask(masked(subject, case, "full_mask"))
    name = str(subject.masking)
    if ask.inputs[name].kind == "lengths":
        full = ask.inputs[name].edit("zero").edit("add", None, case.sizes["kv_len"])
        ask = replace(ask, inputs={**ask.inputs, name: full})
    given, none = yield [ask, ask.without(name)]
    return agree(given.out, none.out, "the output with everything visible")


def _can_be_causal(subject: Subject) -> str | None:
    if "causal" in subject.interface.takes or subject.interface.fixed.get("causal"):
        return None
    return "the target has no causal mode"


@check(
    "law",
    "later keys have no influence",
    applies=both(needs_law("causal_sees_no_future"), _can_be_causal),
    rank=14,
)
def causal_sees_no_future(subject: Subject, case: Case) -> Trial:
    """Query i of as many keys sees keys up to its own; those behind it can be anything."""
    size = case.sizes["kv_len"]
    if size < 2:
        return NotJudged("there is no later key")
    wanted = case.with_sizes(q_len=size).with_options(causal=True)
    # A mask that hides nothing must not take the place of the causal one.
    if (
        case.seed % 2
        and subject.masking is not None
        and not {subject.masking, "causal"} <= set(subject.interface.exclusive)
    ):
        wanted = masked(subject, wanted, "full_mask")
    ask = subject.ask(wanted)
    start = 1 + case.seed % (size - 1)
    later = subject.along(ask, subject.keys_axis, "renew_from", (start, case.seed + 5))
    before, after = yield [ask, later]
    place = subject.output_axis("q_len")
    assert place is not None, "what is causal gives a row for every query"
    return agree(
        after.out.narrow(place, 0, start),
        before.out.narrow(place, 0, start),
        f"rows before {start} after new keys from {start} on",
    )


CHECKS = (
    hidden_keys_have_no_influence,
    masked_equals_removed,
    full_mask_changes_nothing,
    causal_sees_no_future,
)
