"""From a failure at a great length or width to the least one, and to where failing begins."""

from collections.abc import Mapping

from attncheck.checks.check import Check
from attncheck.diagnosis.thresholds import threshold
from attncheck.engine.judging import Known, judge
from attncheck.engine.put import Executor
from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.strategies.sizes import LONG, WIDE
from attncheck.targets.legal import resized, rules_of
from attncheck.targets.subject import Subject

# A question at full length takes a streaming target half a minute on one core.
_SECONDS = 120.0


def is_large(subject: Subject, case: Case) -> bool:
    """Whether some length or width is far from what the sizes of a finding are looked for among."""
    rules = rules_of(subject, dict(case.options))
    counted = [axis for axis in rules.primary if axis in (*LONG, *WIDE)]
    return any(case.sizes[axis] > 2 * max(9, rules.base[axis]) for axis in counted)


def shortest(check: Check, subject: Subject, finding: Finding, executor: Executor) -> Finding:
    """The finding at the least sizes that show it, with its predicate of one size where one was found."""
    case = finding.case
    rules = rules_of(subject, dict(case.options))
    seen: dict[tuple[int, ...], Finding | None] = {}

    def found(sizes: Mapping[str, int]) -> Finding | None:
        key = tuple(sizes.values())
        legal = resized(subject, case, sizes)
        if key not in seen and legal is not None:
            verdict = judge(check, subject, [legal], executor, Known())
            seen[key] = next((f for f in verdict.findings if f.kind == finding.kind), None)
        return seen.get(key)

    chosen = {axis: case.sizes[axis] for axis in rules.primary}
    seen[tuple(chosen.values())] = finding
    short = {a: min(rules.base[a], chosen[a]) for a in rules.primary if a in (*LONG, *WIDE)}
    begins = threshold(chosen, short, lambda sizes: found(sizes) is not None, _SECONDS)
    smaller = found(begins.sizes) or finding
    return smaller.explained(sizes=begins.text)
