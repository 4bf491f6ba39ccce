"""Which known mistake: the catalogue is fitted against the target's own outputs, with its own weights."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from attncheck.defects import DEFECTS
from attncheck.defects.defect import Defect, merged
from attncheck.defects.plain import mutant_of
from attncheck.diagnosis.answers import SAME, is_wrong, same
from attncheck.diagnosis.evidence import Exchange, Executor, drawn, gathered
from attncheck.model.verdict import Family
from attncheck.strategies.sizes import value
from attncheck.targets.ask import Ask
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject

# Long sums in float32 differ by 2e-5, and a mistake that was found by 1e-3 at least.
_BOUNDS = {"float32": 2e-4}
# A plain implementation keeps all scores of queries and keys, 256 MiB of these.
_MOST_SCORES = 2**25
# Questions at random for mistakes that explain a target alike: at most these many sizes are tried.
_DRAWS = 24

# One mistake, or two at once.
Match = tuple[Defect, ...]


def name(subject: Subject, executor: Executor, failing: Sequence[Exchange] = ()) -> Match | None:
    """The mistake that explains every answer of the target, or the two that do; none if unknown.

    `failing` is what a check asked when it failed, with the answers. None instead of a tuple says
    that no answer was wrong: another check may have seen more. The nearest mistake is not good
    enough: a guess would send its reader the wrong way.
    """
    wrong: list[Exchange] = []
    rest: list[Exchange] = []
    for ask, answer in gathered(subject, executor, failing):
        (wrong if is_wrong(subject, ask, answer) else rest).append((ask, answer))
    if not wrong:
        return None
    own = [d for d in DEFECTS if d.mechanism == subject.mechanism.id and not d.needs]
    for size in (1, 2):
        # Wrong answers first: nearly every candidate is out after one of them. A mistake that raises
        # somewhere explains a target only if that raises there too.
        matches = [m for m in itertools.combinations(own, size) if _explains(subject, m, wrong + rest)]
        if matches:
            return _only(_told_apart(subject, executor, matches, wrong), wrong)
    return ()


def name_by(subject: Subject, evidence: Sequence[Exchange], family: Family) -> Match:
    """The mistake that gives every one of these answers, of those that plain calls at usual sizes cannot show."""
    own = [d for d in DEFECTS if d.mechanism == subject.mechanism.id and d.family == family]
    hidden = [d for d in own if d.needs.startswith("--budget") or (family == "mode" and not d.needs)]
    if any(_scores(ask) > _MOST_SCORES for ask, _ in evidence):
        return ()
    shown = [d for d in hidden if all(_shows(d, ask) for ask, _ in evidence)]
    found = ((d,) for d in shown if evidence and _explains(subject, (d,), evidence, _BOUNDS))
    return next(found, ())


def _scores(ask: Ask) -> int:
    return int(str(ask.names.get("q_len", 0))) * int(str(ask.names.get("kv_len", 0)))


def _told_apart(
    subject: Subject, executor: Executor, matches: Sequence[Match], wrong: Sequence[Exchange]
) -> Sequence[Match]:
    """Those that explain the target at sizes, drawn at random, at which they differ among themselves."""
    gradients = next((ask.gradients for ask, _ in wrong if ask.gradients), ())
    for ask in drawn(subject, _DRAWS if len(matches) > 1 else 0):
        ask = replace(ask, gradients=gradients)
        given = [_bench(subject, match).perform(ask) for match in matches]
        if not all(same(subject, ask, other, given[0]) for other in given[1:]):
            (answer,) = executor.put([ask])
            pairs = zip(matches, given, strict=True)
            matches = [match for match, own in pairs if same(subject, ask, own, answer)]
    return matches


def _only(matches: Sequence[Match], wrong: Sequence[Exchange]) -> Match:
    """The first match that can show wherever the target was wrong, none if there is no match.

    Several that explain whatever was asked are one mistake at the sizes that the target allows: the
    catalogue names the plainest first.
    """
    fitting = [m for m in matches if all(any(_shows(d, ask) for d in m) for ask, _ in wrong)]
    return next(iter([*fitting, *matches]), ())


def _shows(defect: Defect, ask: Ask) -> bool:
    if defect.shows == "always":
        return True
    try:
        return bool(value(defect.shows, {"bias": "bias" in ask.inputs, **ask.options, **ask.names}))
    except NameError:
        return True


def _explains(
    subject: Subject,
    match: Match,
    evidence: Iterable[Exchange],
    bounds: Mapping[str, float] = MappingProxyType({}),
) -> bool:
    if merged(match) is None:
        return False
    bench = _bench(subject, match)
    return all(
        same(subject, ask, bench.perform(ask), answer, bounds.get(ask.dtype, SAME))
        for ask, answer in evidence
    )


def _bench(subject: Subject, match: Match) -> Bench:
    mutant = mutant_of(subject.mechanism.id, *match)
    assert mutant is not None, "mistakes that replace one step are no match"
    return Bench(replace(mutant, like=subject.interface))
