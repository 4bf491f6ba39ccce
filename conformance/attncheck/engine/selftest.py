"""The self-test: every known mistake is put before the checks, and everything that is right."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from attncheck.checks import CHECKS
from attncheck.checks.check import Check
from attncheck.defects import DEFECTS, EQUIVALENTS
from attncheck.defects.defect import Defect
from attncheck.defects.plain import mutant_of
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import Budget
from attncheck.model.case import Case
from attncheck.model.verdict import Family, Verdict
from attncheck.targets.adapter import Adapter, Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISM_BY_ID
from attnref.catalogue import MECHANISMS

# Cases of a check that are judged before the next check has its turn; the last round is what is left.
ROUNDS = (1, 3, 8, 16, 1000)


@dataclass(frozen=True)
class Trial:
    """What became of one defect under one seed: the checks that found it in the round in which one did."""

    defect: str
    seed: int
    killed_by: tuple[tuple[str, Family], ...]
    cases: int
    seconds: float
    broke: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accusation:
    """A finding about something that is right."""

    name: str
    mechanism: str
    seed: int
    check: str
    evidence: str


@dataclass(frozen=True)
class Score:
    """The whole self-test."""

    budget: Budget
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...] = ()
    accusations: tuple[Accusation, ...] = ()
    acquitted: int = 0
    seconds: float = 0.0

    @property
    def survivors(self) -> tuple[Trial, ...]:
        """Defects that no check found under some seed."""
        return tuple(trial for trial in self.trials if not trial.killed_by)

    @property
    def passed(self) -> bool:
        """Every mistake was found and nothing right was accused."""
        return not self.survivors and not self.accusations


@dataclass(frozen=True)
class Correct:
    """Something that is right: a name, its mechanism, and how an adapter of it is made."""

    name: str
    mechanism: str
    adapter: Callable[[], Adapter]


@dataclass(frozen=True)
class _Job:
    """What one process does at a time: some defects of a mechanism, or one correct implementation."""

    mechanism: str
    seed: int
    budget: Budget
    defects: tuple[int, ...] = ()
    correct: int | None = None


Done = tuple[tuple[Trial, ...], tuple[Accusation, ...]]
Listener = Callable[[str, int, int], None]


def references() -> tuple[Correct, ...]:
    """The references, and the mutants that differ from them in nothing that counts."""
    own = [Correct(m.id, m.id, partial(Reference, m)) for m in MECHANISMS]
    return (*own, *(Correct(d.id, d.mechanism, partial(_made, d)) for d in EQUIVALENTS))


def _made(defect: Defect) -> Adapter:
    made = mutant_of(defect.mechanism, defect)
    assert made is not None, "one defect cannot contradict itself"
    return made


def selftest(
    budget: Budget = "default",
    seeds: Sequence[int] = (0,),
    mechanisms: Sequence[str] = (),
    jobs: int = 2,
    correct: Sequence[Correct] | None = None,
    listener: Listener | None = None,
) -> Score:
    """Run the checks on the catalogue and on what is right; `listener` hears what is done, of how much."""
    started = time.perf_counter()
    right = tuple(references() if correct is None else correct)
    chosen = [job for job in _jobs(budget, seeds, right) if not mechanisms or job.mechanism in mechanisms]
    trials: list[Trial] = []
    accusations: list[Accusation] = []
    for number, (job, done) in enumerate(_performed(chosen, right, jobs), 1):
        trials += done[0]
        accusations += done[1]
        if listener is not None:
            listener(job.mechanism, number, len(chosen))
    acquitted = sum(job.correct is not None for job in chosen) - len({(a.name, a.seed) for a in accusations})
    seconds = time.perf_counter() - started
    return Score(budget, tuple(seeds), tuple(trials), tuple(accusations), acquitted, seconds)


def _jobs(budget: Budget, seeds: Sequence[int], right: Sequence[Correct]) -> Iterator[_Job]:
    for seed in seeds:
        for index, item in enumerate(right):
            yield _Job(item.mechanism, seed, budget, correct=index)
        for mechanism in MECHANISMS:
            own = [i for i, defect in enumerate(DEFECTS) if defect.mechanism == mechanism.id]
            for start in range(0, len(own), 8):
                yield _Job(mechanism.id, seed, budget, defects=tuple(own[start : start + 8]))


def _performed(chosen: Sequence[_Job], right: Sequence[Correct], jobs: int) -> Iterator[tuple[_Job, Done]]:
    """Each job with what it gave, in processes side by side if more than one is wanted."""
    if jobs <= 1:
        yield from ((job, _perform(job, right)) for job in chosen)
        return
    # Forked children have everything imported; mutants are closures that cannot be sent.
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, initializer=_alone, initargs=(right,)) as pool:
        yield from pool.imap_unordered(_perform_and_tell, chosen)


_RIGHT: list[Correct] = []


def _alone(right: Sequence[Correct]) -> None:
    """One thread for each process, or they wait for each other."""
    import torch

    torch.set_num_threads(1)
    _RIGHT[:] = right


def _perform_and_tell(job: _Job) -> tuple[_Job, Done]:
    return job, _perform(job, _RIGHT)


def _perform(job: _Job, right: Sequence[Correct]) -> Done:
    if job.correct is not None:
        return (), tuple(accusations(right[job.correct], job.budget, job.seed))
    return tuple(tried(DEFECTS[i], job.budget, job.seed) for i in job.defects), ()


@dataclass
class _Plan:
    """The checks that apply to a mechanism, and their cases."""

    subject: Subject
    checks: list[tuple[Check, list[Case]]] = field(default_factory=list)


_PLANS: dict[tuple[str, Budget, int], _Plan] = {}


def _plan(mechanism: str, budget: Budget, seed: int) -> _Plan:
    """Made once: all mutants of a mechanism are called as its reference is."""
    key = (mechanism, budget, seed)
    if key not in _PLANS:
        reference = Reference(MECHANISM_BY_ID[mechanism])
        _PLANS[key] = _planned(Subject(reference.mechanism, reference.interface), budget, seed)
    return _PLANS[key]


def _planned(subject: Subject, budget: Budget, seed: int) -> _Plan:
    wanted = [c for c in CHECKS if c.applies(subject) is None]
    return _Plan(
        subject, [(c, cases(c, subject, budget, seed)) for c in sorted(wanted, key=lambda c: not c.basic)]
    )


def tried(defect: Defect, budget: Budget, seed: int) -> Trial:
    """Put one defect before the checks, a few cases of each at a time, until a round finds it."""
    started = time.perf_counter()
    plan = _plan(defect.mechanism, budget, seed)
    executor = InProcess(_made(defect))
    found: list[tuple[str, Family]] = []
    broke: set[str] = set()
    judged, begin = 0, 0
    for size in ROUNDS:
        for check, planned in plan.checks:
            some = planned[begin : begin + size]
            if not some or any(c.basic for c, _ in plan.checks if c.id in dict(found)):
                continue
            verdict = _verdict(check, plan.subject, some, executor)
            judged += verdict.cases if verdict else 0
            if verdict is None:
                broke.add(check.id)
            elif _finds(verdict, defect):
                found.append((check.id, check.family))
        begin += size
        if found:
            break
    executor.close()
    return Trial(defect.id, seed, tuple(found), judged, time.perf_counter() - started, tuple(sorted(broke)))


def _finds(verdict: Verdict, defect: Defect) -> bool:
    return verdict.outcome == "failed" or (verdict.outcome == "deviates" and defect.needs == "--strict")


def _verdict(check: Check, subject: Subject, some: list[Case], executor: InProcess) -> Verdict | None:
    """The verdict, or None if the check itself broke: that is a mistake of the suite."""
    try:
        return judge(check, subject, some, executor, Known())
    except Exception:  # whatever it is, it is told by the name of the check
        return None


def accusations(item: Correct, budget: Budget, seed: int) -> Iterable[Accusation]:
    """Findings about something that is right; a check that breaks on it is one."""
    adapter = item.adapter()
    subject = Subject(MECHANISM_BY_ID[item.mechanism], adapter.interface)
    executor = InProcess(adapter)
    for check, planned in _planned(subject, budget, seed).checks:
        verdict = _verdict(check, subject, planned, executor)
        if verdict is None:
            yield Accusation(item.name, item.mechanism, seed, check.id, "the check broke")
        elif verdict.outcome == "failed":
            finding = verdict.findings[0]
            yield Accusation(item.name, item.mechanism, seed, check.id, f"{finding.actual} ({finding.case})")
        elif verdict.outcome == "errored":
            yield Accusation(item.name, item.mechanism, seed, check.id, verdict.reason)
    executor.close()
