"""Laws of order and separation: keys may be shuffled, queries and samples go their own way."""

from dataclasses import replace

from attncheck.checks.check import Applies, NotJudged, Trial, both, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.masking import keyed, masked
from attncheck.model.case import Case
from attncheck.strategies.tensors import permutation
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def keys_stand_alone(subject: Subject) -> str | None:
    """Applies where keys are handed over apart from queries."""
    if subject.keys_axis == "kv_len":
        return None
    return "queries and keys are one tensor here; follows_query_order judges their order"


def not_always_causal(subject: Subject) -> str | None:
    """Applies unless every call of the target is causal."""
    return "the target is always causal" if subject.interface.fixed.get("causal") else None


def _law(name: str, *conditions: Applies) -> Applies:
    return both(needs_law(name), not_always_causal, *conditions)


@check(
    "law", "out(q, k[p], v[p]) == out(q, k, v)", applies=_law("ignores_key_order", keys_stand_alone), rank=20
)
def ignores_key_order(subject: Subject, case: Case) -> Trial:
    """Keys and values moved together, and the mask with them, leave the output where it was."""
    ask = subject.ask(keyed(subject, case))
    moved = subject.along(ask, "kv_len", "permute", case.seed)
    before, after = yield [ask, moved]
    return agree(after.out, before.out, "the output after shuffling the keys")


@check("law", "out(q[p]) == out(q)[p]", applies=_law("follows_query_order"), rank=21)
def follows_query_order(subject: Subject, case: Case) -> Trial:
    """Shuffled queries give shuffled outputs; in self-attention, shuffled tokens do."""
    law = subject.law("follows_query_order", case)
    return (yield from equivariant(subject, case, law.axes[0], "queries"))


@check("law", "out(heads[p]) == out(heads)[p]", applies=_law("follows_head_order"), rank=22)
def follows_head_order(subject: Subject, case: Case) -> Trial:
    """Heads given in another order come back in that order."""
    return (yield from equivariant(subject, case, "heads", "heads"))


@check("law", "weights(scores[p]) == weights(scores)[p]", applies=_law("follows_key_order"), rank=22)
def follows_key_order(subject: Subject, case: Case) -> Trial:
    """Where the weights are the answer, shuffled keys give shuffled weights."""
    return (yield from equivariant(subject, case, "kv_len", "keys"))


@check("law", "out(batch[p]) == out(batch)[p]", applies=_law("follows_sample_order"), rank=22)
def follows_sample_order(subject: Subject, case: Case) -> Trial:
    """Shuffled samples give shuffled outputs, in training too."""
    return (yield from equivariant(subject, case, "batch", "samples"))


@check(
    "law",
    "out(channels[p]) == out(channels)[p]",
    applies=_law("follows_channel_order"),
    options="all",
    rank=22,
)
def follows_channel_order(subject: Subject, case: Case) -> Trial:
    """Shuffled channels give shuffled outputs."""
    return (yield from equivariant(subject, case, "channels", "channels"))


@check("law", "out(rows[p]) == out(rows)[p]", applies=_law("follows_row_order"), options="all", rank=22)
def follows_row_order(subject: Subject, case: Case) -> Trial:
    """Shuffled rows of an image give shuffled rows of the output."""
    return (yield from equivariant(subject, case, "height", "rows"))


@check(
    "law", "out(columns[p]) == out(columns)[p]", applies=_law("follows_column_order"), options="all", rank=22
)
def follows_column_order(subject: Subject, case: Case) -> Trial:
    """Shuffled columns of an image give shuffled columns of the output."""
    return (yield from equivariant(subject, case, "width", "columns"))


def equivariant(subject: Subject, case: Case, axis: str, what: str) -> Trial:
    """An axis of the inputs that is moved moves in the output alike."""
    ask = subject.ask(keyed(subject, case) if axis == subject.keys_axis else masked(subject, case))
    ask = replace(ask, train=in_training(subject, case))
    return (yield from equivariant_to(subject, ask, case, axis, what))


def equivariant_to(subject: Subject, ask: Ask, case: Case, axis: str, what: str) -> Trial:
    """The same of one question."""
    size = case.sizes[axis]
    carried = subject.places(ask, axis)
    if size < 2 or not carried:
        return NotJudged(f"{axis} is {size}")
    place = subject.output_axis(axis)
    if place is None:
        # An image keeps its axes where they are.
        place = carried[0][1]
    before, after = yield [ask, subject.along(ask, axis, "permute", case.seed)]
    if before.out.dim() <= place or before.out.shape[place] != size:
        return NotJudged("the output has another shape")
    order = permutation(size, case.seed)
    return agree(after.out, before.out.index_select(place, order), f"the output for shuffled {what}")


def in_training(subject: Subject, case: Case) -> bool:
    """Training mode by turns where batch norm has two samples to learn from."""
    return subject.norms_batches and case.seed % 2 == 1 and case.sizes["batch"] > 1


@check("law", "out(batch)[i] == out(batch[i])", applies=needs_law("samples_do_not_mix"), rank=15)
def samples_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A sample gets the answer it would get alone, whatever stands beside it in the batch."""
    return (yield from _separate(subject, case, "batch", "sample"))


@check("law", "out(heads)[h] == out(heads[h])", applies=needs_law("heads_do_not_mix"), rank=16)
def heads_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A head gets the answer it would get alone."""
    return (yield from _separate(subject, case, "heads", "head"))


def _queries_stand_alone(subject: Subject) -> str | None:
    return "queries and keys are one tensor here" if subject.keys_axis != "kv_len" else None


@check("law", "out(q)[i] == out(q[i])", applies=_law("queries_do_not_mix", _queries_stand_alone), rank=17)
def queries_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A query gets the answer it would get alone."""
    return (yield from _separate(subject, case, "q_len", "query"))


def _trained(subject: Subject, case: Case, axis: str) -> bool:
    """Training mode by turns, unless the law is stated for evaluation alone."""
    return axis == "batch" and not subject.norms_batches and case.seed % 2 == 1


def _separate(subject: Subject, case: Case, axis: str, what: str) -> Trial:
    place = subject.output_axis(axis)
    size = case.sizes[axis]
    if place is None or size < 2:
        return NotJudged(f"{axis} is {size}")
    chosen = case.seed % size
    ask = replace(subject.ask(masked(subject, case)), train=_trained(subject, case, axis))
    together, alone = yield [ask, subject.along(ask, axis, "take", chosen)]
    if together.out.dim() <= place or together.out.shape[place] != size:
        return NotJudged("the output has another shape")
    return agree(alone.out, together.out.narrow(place, chosen, 1), f"{what} {chosen} alone")


def _keys_can_be_repeated(subject: Subject) -> str | None:
    laws = subject.laws("ignores_duplicated_keys")
    if any(axis not in subject.ties for law in laws for axis in law.axes):
        return None
    return "queries and keys are one tensor here"


@check(
    "law",
    "every key twice changes nothing",
    applies=_law("ignores_duplicated_keys", _keys_can_be_repeated),
    rank=23,
)
def ignores_duplicated_keys(subject: Subject, case: Case) -> Trial:
    """The same keys and values a second time share the weight and leave the average alone."""
    law = subject.law("ignores_duplicated_keys", case)
    # Some forms of masks cannot be repeated with the keys.
    ask = subject.ask(case if subject.interface.maskings else keyed(subject, case))
    once, twice = yield [ask, subject.along(ask, law.axes[0], "repeat", 2)]
    return agree(twice.out, once.out, "the output with every key twice")


@check(
    "law",
    "the batch twice gives the output twice",
    applies=needs_law("ignores_repeated_batch"),
    options="all",
    rank=23,
)
def ignores_repeated_batch(subject: Subject, case: Case) -> Trial:
    """Every sample twice leaves mean and spread of the batch, and so each answer, as they were."""
    ask = replace(subject.ask(case), train=in_training(subject, case))
    once, twice = yield [ask, subject.along(ask, "batch", "repeat", 2)]
    return agree(
        twice.out, once.out.repeat(2, *[1] * (once.out.dim() - 1)), "the output for every sample twice"
    )


CHECKS = (
    samples_do_not_mix,
    heads_do_not_mix,
    queries_do_not_mix,
    ignores_key_order,
    follows_query_order,
    follows_head_order,
    follows_key_order,
    follows_sample_order,
    follows_channel_order,
    follows_row_order,
    follows_column_order,
    ignores_repeated_batch,
    ignores_duplicated_keys,
)
