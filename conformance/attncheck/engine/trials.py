"""Puts a mistake, or something that is right, before the checks of a run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from attncheck.checks import CHECKS
from attncheck.checks.check import Check
from attncheck.checks.oracle import asked_of, keep_in
from attncheck.defects.defect import Defect
from attncheck.engine.correct import Correct, made
from attncheck.engine.judging import Known, judge
from attncheck.engine.outcomes import expected_conventions
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import Budget, Request
from attncheck.engine.score import Accusation, Acquittal, Trial
from attncheck.model.case import Case
from attncheck.model.verdict import Family, Verdict
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.kept import Kept
from attncheck.strategies.sizes import value
from attncheck.targets.adapter import Reference
from attncheck.targets.discover import discover
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.subject import Subject

# Cases of a check that are judged before the next check has its turn; the last round is what is left.
ROUNDS = (1, 3, 8, 16, 1000)

Planned = tuple[Check, list[Case]]

# Everyone is asked about the same tensors; 128 MiB hold most of those of a plan.
_MADE = Kept(2**24)


@dataclass(frozen=True)
class Plan:
    """The checks that apply to a subject, basics first, each with the cases that a run gives it."""

    subject: Subject
    checks: tuple[Planned, ...]


def planned(subject: Subject, budget: Budget, seed: int) -> Plan:
    """What a run of this budget and seed puts to the subject."""
    keep_in(subject, _MADE)
    wanted = [c for c in CHECKS if c.applies(subject) is None]
    wanted.sort(key=lambda c: not c.basic)
    return Plan(subject, tuple((c, cases(c, subject, budget, seed)) for c in wanted))


_PLANS: dict[tuple[str, Budget, int], Plan] = {}


def plan_of(mechanism: str, budget: Budget, seed: int) -> Plan:
    """The plan of everything that is called as the reference is; made once, with one subject for all."""
    key = (mechanism, budget, seed)
    if key not in _PLANS:
        # Answers of the reference are kept by subject: those to other seeds are not asked for again.
        _PLANS.clear()
        _PLANS[key] = planned(Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface), budget, seed)
    return _PLANS[key]


def tried(defect: Defect, budget: Budget, seed: int, exhaustive: bool = False) -> Trial:
    """Put one defect before the checks of a run until one finds it, or before each of them.

    Order is all that differs from a run: where the defect can show comes first.
    """
    started = time.process_time()
    if defect.needs.startswith("--expect "):
        unexpected = _unexpected(defect)
        return Trial(defect.id, seed, unexpected, 1, time.process_time() - started)
    if defect.needs == "--budget deep":
        plan = _in_depth(defect, seed)
    else:
        plan = plan_of(defect.mechanism, budget, seed)
    executor = InProcess(made(defect.mechanism, defect), _MADE)
    found: list[tuple[str, Family]] = []
    broke: set[str] = set()
    put: dict[str, bool] = {}
    judged = 0
    for check, some in _in_turns(plan, defect):
        if check.id in broke or check.id in dict(found):
            continue
        before = asked_of(plan.subject)
        verdict = _verdict(check, plan.subject, some, executor)
        judged += verdict.cases if verdict else 0
        if verdict and verdict.cases:
            put[check.id] = put.get(check.id, False) or asked_of(plan.subject) > before
        if verdict is None:
            broke.add(check.id)
        elif _finds(verdict, defect):
            found.append((check.id, check.family))
            if not exhaustive:
                break
    executor.close()
    seconds = time.process_time() - started
    return Trial(defect.id, seed, tuple(found), judged, seconds, tuple(sorted(broke)), tuple(put.items()))


def _in_depth(defect: Defect, seed: int) -> Plan:
    """The first case that can show the defect, of each check that has sizes of its own in that budget.

    A plain implementation gets through no more: the others have scores of 16 GiB.
    """
    plan = planned(
        Subject(BY_ID[defect.mechanism], Reference(BY_ID[defect.mechanism]).interface), "deep", seed
    )
    own = [(check, _likely_first(some, defect)[:1]) for check, some in plan.checks if check.plans]
    return replace(plan, checks=tuple(own))


def _unexpected(defect: Defect) -> tuple[tuple[str, Family], ...]:
    """What a mistake that is a convention to others breaks of what it needs to be expected.

    As in a run, the convention is found with the adapter, under which the rest is right.
    """
    name, _, option = defect.needs.removeprefix("--expect ").partition("=")
    target = made(defect.mechanism, defect).target
    found = discover(target, BY_ID[defect.mechanism])
    request = Request(target, defect.mechanism, expect={name: option})
    verdicts = expected_conventions(request, FoundAdapter(found, target).interface.conventions)
    return tuple((v.check, v.family) for v in verdicts if v.outcome == "failed")


def _in_turns(plan: Plan, defect: Defect) -> Iterator[Planned]:
    """A few cases of each check at a time: its own family first, slow checks last, likely cases first."""
    ordered = [(c, _likely_first(some, defect)) for c, some in plan.checks]
    quick = sorted(
        ((c, some) for c, some in ordered if not c.most), key=lambda p: p[0].family != defect.family
    )
    begin = 0
    for size in ROUNDS:
        for check, some in quick:
            if some[begin : begin + size]:
                yield check, some[begin : begin + size]
        begin += size
    yield from ((c, some) for c, some in ordered if c.most and some)


def _likely_first(some: list[Case], defect: Defect) -> list[Case]:
    return sorted(some, key=lambda case: not _can_show(defect, case))


def _can_show(defect: Defect, case: Case) -> bool:
    try:
        return bool(value(defect.shows, {"always": True, "bias": False, **case.names}))
    except NameError:  # a size that a map of this rank does not have
        return False


def _finds(verdict: Verdict, defect: Defect) -> bool:
    return verdict.outcome == "failed" or (verdict.outcome == "deviates" and defect.needs == "--strict")


def _verdict(check: Check, subject: Subject, some: list[Case], executor: InProcess) -> Verdict | None:
    """The verdict, or None if the check itself broke: that is a mistake of the suite."""
    try:
        return judge(check, subject, some, executor, Known())
    except Exception:  # whatever it is, it is told by the name of the check
        return None


def acquitted(item: Correct, budget: Budget, seed: int) -> Acquittal:
    """Put something right before every check; a check that breaks on it accuses it too."""
    started = time.process_time()
    adapter = item.adapter()
    plan = plan_of(item.mechanism, budget, seed)
    if adapter.interface != plan.subject.interface:
        plan = planned(Subject(BY_ID[item.mechanism], adapter.interface), budget, seed)
    executor = InProcess(adapter, _MADE)
    accusations: list[Accusation] = []
    judged = 0
    for check, some in plan.checks:
        verdict = _verdict(check, plan.subject, some, executor)
        judged += verdict.cases if verdict else 0
        evidence = _evidence(verdict)
        if evidence:
            accusations.append(Accusation(item.name, item.mechanism, seed, check.id, evidence))
    executor.close()
    seconds = time.process_time() - started
    return Acquittal(item.name, item.mechanism, seed, judged, seconds, tuple(accusations))


def _evidence(verdict: Verdict | None) -> str:
    if verdict is None:
        return "the check broke"
    if verdict.outcome == "failed":
        return f"{verdict.findings[0].actual} ({verdict.findings[0].case})"
    return verdict.reason if verdict.outcome == "errored" else ""
