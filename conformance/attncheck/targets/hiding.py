"""Whether a mask hides what it says it hides, as the target's own answers show."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from attncheck.targets.ask import Ask
from attncheck.targets.bench import Bench
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.subject import Subject
from attncheck.targets.trying import SIZE_SETS, agrees, case_for, gap_between, subject_of
from attnref import Mechanism

_ELSEWHERE = 40.0


def hides(found: Found, target: Any, mechanism: Mechanism) -> bool:
    """Whether a mask that shows all changes nothing, and one that hides the last key makes it idle.

    Needs no reference, so it tells polarities apart where weights could not be matched.
    """
    subject, bench = subject_of(found, mechanism), Bench(FoundAdapter(found, target))
    mask = str(subject.masking)
    for sizes in SIZE_SETS:
        case = case_for(found, mechanism, sizes, masking="last_key_mask")
        if case is None or subject.optional[mask].kind != "bool":
            continue
        hiding, showing = subject.ask(case), subject.ask(replace(case, masking="full_mask"))
        plain = _rows(subject, bench, showing.without(mask))
        shown = _rows(subject, bench, showing)
        before = _rows(subject, bench, hiding)
        after = _rows(subject, bench, _moved(subject, hiding, case.sizes["kv_len"] - 1))
        if plain is None or shown is None or before is None or after is None:
            continue
        same = agrees(gap_between(shown, plain)) and agrees(gap_between(after, before))
        return same and not agrees(gap_between(before, plain))
    return False


def _moved(subject: Subject, ask: Ask, key: int) -> Ask:
    axis = "kv_len" if subject.has("kv_len") else "q_len"
    for name, place in subject.places(ask, axis):
        if name in subject.inputs:
            ask = ask.edit(name, "fill_from", place, (key, _ELSEWHERE))
    return ask


def _rows(subject: Subject, bench: Bench, ask: Ask) -> Tensor | None:
    """The output without its last query, which in self-attention is the last key as well."""
    answer = bench.perform(ask)
    place = subject.output_axis("q_len")
    if answer.trouble is not None or place is None or answer.out.dim() <= place:
        return None
    return answer.out.narrow(place, 0, max(answer.out.shape[place] - 1, 0))
