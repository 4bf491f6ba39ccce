"""The self-test: every known mistake is put before the checks, and everything that is right."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attncheck.defects import DEFECTS
from attncheck.engine.correct import Correct, correct_ones
from attncheck.engine.request import Budget
from attncheck.engine.score import Acquittal, Score, Trial
from attncheck.engine.trials import acquitted, tried
from attnref.catalogue import MECHANISMS

# Mistakes that one process tries before it asks for more.
_TOGETHER = 12


@dataclass(frozen=True)
class _Job:
    """What one process does at a time: some defects of a mechanism, or one correct implementation."""

    mechanism: str
    seed: int
    budget: Budget
    exhaustive: bool = False
    defects: tuple[int, ...] = ()
    correct: int | None = None


Done = tuple[Trial, ...] | Acquittal
Listener = Callable[[str, int, int], None]


def selftest(
    budget: Budget = "default",
    seeds: Sequence[int] = (0,),
    mechanisms: Sequence[str] = (),
    jobs: int = 2,
    correct: Sequence[Correct] | None = None,
    listener: Listener | None = None,
    exhaustive: bool = False,
) -> Score:
    """Run the checks on the catalogue and on what is right; `listener` hears what is done, of how much."""
    started = time.perf_counter()
    right = correct_ones() if correct is None else tuple(correct)
    every = _jobs(budget, seeds, right, exhaustive)
    chosen = [job for job in every if not mechanisms or job.mechanism in mechanisms]
    trials: list[Trial] = []
    judged: list[Acquittal] = []
    for number, (job, done) in enumerate(_performed(chosen, right, jobs), 1):
        if isinstance(done, Acquittal):
            judged.append(done)
        else:
            trials += done
        if listener is not None:
            listener(job.mechanism, number, len(chosen))
    seconds = time.perf_counter() - started
    return Score(budget, tuple(seeds), tuple(trials), tuple(judged), seconds, exhaustive)


def _jobs(budget: Budget, seeds: Sequence[int], right: Sequence[Correct], exhaustive: bool) -> Iterator[_Job]:
    """By mechanism, so that a process that has the reference's answers goes on using them."""
    order = list(dict.fromkeys([*(item.mechanism for item in right), *(m.id for m in MECHANISMS)]))
    for seed in seeds:
        for mechanism in order:
            for index, item in enumerate(right):
                if item.mechanism == mechanism:
                    yield _Job(mechanism, seed, budget, exhaustive, correct=index)
            own = [i for i, defect in enumerate(DEFECTS) if defect.mechanism == mechanism]
            for start in range(0, len(own), _TOGETHER):
                yield _Job(mechanism, seed, budget, exhaustive, tuple(own[start : start + _TOGETHER]))


def _performed(chosen: Sequence[_Job], right: Sequence[Correct], jobs: int) -> Iterator[tuple[_Job, Done]]:
    """Each job with what it gave, in processes side by side if more than one is wanted."""
    if jobs <= 1:
        yield from ((job, _perform(job, right)) for job in chosen)
        return
    # Imported once, before the processes part: half of what exporting a program takes.
    import torch._dynamo
    import torch.export  # noqa: F401

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
        return acquitted(right[job.correct], job.budget, job.seed)
    return tuple(tried(DEFECTS[i], job.budget, job.seed, job.exhaustive) for i in job.defects)
