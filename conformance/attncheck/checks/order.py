"""Laws of order and separation: keys may be shuffled, queries and samples go their own way."""

from attncheck.checks.check import Applies, NotJudged, Trial, both, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.model.case import Case
from attncheck.strategies.tensors import permutation
from attncheck.targets.subject import Subject


def keys_stand_alone(subject: Subject) -> str | None:
    """Applies where keys are handed over apart from queries."""
    if subject.has("kv_len"):
        return None
    return "queries and keys are one tensor here; follows_query_order judges their order"


def not_always_causal(subject: Subject) -> str | None:
    """Applies unless every call of the target is causal."""
    return "the target is always causal" if subject.interface.fixed.get("causal") else None


def _law(name: str, *conditions: Applies) -> Applies:
    return both(needs_law(name), not_always_causal, *conditions)


@check("law", "out(q, k[p], v[p]) == out(q, k, v)", applies=_law("ignores_key_order", keys_stand_alone), rank=20)
def ignores_key_order(subject: Subject, case: Case) -> Trial:
    """Keys and values moved together, and the mask with them, leave the output where it was."""
    ask = subject.ask(masked(subject, case))
    moved = subject.along(ask, "kv_len", "permute", case.seed)
    before, after = yield [ask, moved]
    return agree(after.out, before.out, "the output after shuffling the keys")


@check("law", "out(q[p]) == out(q)[p]", applies=_law("follows_query_order"), rank=21)
def follows_query_order(subject: Subject, case: Case) -> Trial:
    """Shuffled queries give shuffled outputs; in self-attention, shuffled tokens do."""
    return (yield from _equivariant(subject, case, "q_len", "queries"))


@check("law", "out(heads[p]) == out(heads)[p]", applies=_law("follows_head_order"), rank=22)
def follows_head_order(subject: Subject, case: Case) -> Trial:
    """Heads given in another order come back in that order."""
    return (yield from _equivariant(subject, case, "heads", "heads"))


def _equivariant(subject: Subject, case: Case, axis: str, what: str) -> Trial:
    place = subject.output_axis(axis)
    if place is None or case.sizes[axis] < 2:
        return NotJudged(f"{axis} is {case.sizes[axis]}")
    ask = subject.ask(masked(subject, case))
    before, after = yield [ask, subject.along(ask, axis, "permute", case.seed)]
    if before.out.shape[place] != case.sizes[axis]:
        return NotJudged("the output has another shape")
    order = permutation(case.sizes[axis], case.seed)
    return agree(after.out, before.out.index_select(place, order), f"the output for shuffled {what}")


@check("law", "out(batch)[i] == out(batch[i])", applies=needs_law("samples_do_not_mix"), rank=15)
def samples_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A sample gets the answer it would get alone, whatever stands beside it in the batch."""
    return (yield from _separate(subject, case, "batch", "sample"))


@check("law", "out(heads)[h] == out(heads[h])", applies=needs_law("heads_do_not_mix"), rank=16)
def heads_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A head gets the answer it would get alone."""
    return (yield from _separate(subject, case, "heads", "head"))


def _queries_stand_alone(subject: Subject) -> str | None:
    return "queries and keys are one tensor here" if not subject.has("kv_len") else None


@check("law", "out(q)[i] == out(q[i])", applies=_law("queries_do_not_mix", _queries_stand_alone), rank=17)
def queries_do_not_mix(subject: Subject, case: Case) -> Trial:
    """A query gets the answer it would get alone."""
    return (yield from _separate(subject, case, "q_len", "query"))


def _separate(subject: Subject, case: Case, axis: str, what: str) -> Trial:
    place = subject.output_axis(axis)
    size = case.sizes[axis]
    if place is None or size < 2:
        return NotJudged(f"{axis} is {size}")
    chosen = case.seed % size
    ask = subject.ask(masked(subject, case))
    together, alone = yield [ask, subject.along(ask, axis, "take", chosen)]
    if together.out.dim() <= place or together.out.shape[place] != size:
        return NotJudged("the output has another shape")
    return agree(alone.out, together.out.narrow(place, chosen, 1), f"{what} {chosen} alone")


@check(
    "law", "every key twice changes nothing", applies=_law("ignores_duplicated_keys", keys_stand_alone), rank=23
)
def ignores_duplicated_keys(subject: Subject, case: Case) -> Trial:
    """The same keys and values a second time share the weight and leave the average alone."""
    if subject.interface.maskings:
        ask = subject.ask(case)
    else:
        ask = subject.ask(masked(subject, case))
    once, twice = yield [ask, subject.along(ask, "kv_len", "repeat", 2)]
    return agree(twice.out, once.out, "the output with every key twice")


CHECKS = (
    samples_do_not_mix,
    heads_do_not_mix,
    queries_do_not_mix,
    ignores_key_order,
    follows_query_order,
    follows_head_order,
    ignores_duplicated_keys,
)
