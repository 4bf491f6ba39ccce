"""The self-test: every known mistake is put before the checks, and everything that is right."""

import gc
import logging
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attncheck.defects import DEFECTS
from attncheck.defects.defect import Defect
from attncheck.engine.correct import Correct, correct_ones
from attncheck.engine.request import Budget
from attncheck.engine.resuming import Done, Record
from attncheck.engine.score import Acquittal, Score, Trial
from attncheck.engine.trials import acquitted, tried
from attnref.catalogue import MECHANISMS

# Mistakes that one process tries before it asks for more, and what is right that it judges.
_TOGETHER = 12
_RIGHT_TOGETHER = 5


@dataclass(frozen=True)
class _Job:
    """What one process does at a time: some defects or correct implementations of a mechanism."""

    mechanism: str
    seed: int
    budget: Budget
    exhaustive: bool = False
    defects: tuple[int, ...] = ()
    correct: tuple[int, ...] = ()


Listener = Callable[[str, int, int], None]


def selftest(
    budget: Budget = "default",
    seeds: Sequence[int] = (0,),
    mechanisms: Sequence[str] = (),
    jobs: int = 2,
    correct: Sequence[Correct] | None = None,
    listener: Listener | None = None,
    exhaustive: bool = False,
    record: Record | None = None,
) -> Score:
    """Run the checks on the catalogue and on what is right; `listener` hears what is done, of how much.

    What a record holds is not done again, and what is done is added to it.
    """
    started = time.perf_counter()
    right = correct_ones() if correct is None else tuple(correct)
    every = _jobs(budget, seeds, right, exhaustive)
    chosen = [job for job in every if not mechanisms or job.mechanism in mechanisms]
    resumed = record is not None and any(record.get(job) is not None for job in chosen)
    trials: list[Trial] = []
    judged: list[Acquittal] = []
    for number, (job, done) in enumerate(_recorded(chosen, right, jobs, record), 1):
        trials += done[0]
        judged += done[1]
        if listener is not None:
            listener(job.mechanism, number, len(chosen))
    # What was done before took time of which the clock of this run knows nothing.
    seconds = 0.0 if resumed else time.perf_counter() - started
    return Score(budget, tuple(seeds), tuple(trials), tuple(judged), seconds, exhaustive)


def _jobs(budget: Budget, seeds: Sequence[int], right: Sequence[Correct], exhaustive: bool) -> Iterator[_Job]:
    """By mechanism, so that a process that has the reference's answers goes on using them."""
    order = list(dict.fromkeys([*(item.mechanism for item in right), *(m.id for m in MECHANISMS)]))
    for seed in seeds:
        for mechanism in order:
            for some in _parted(mechanism, right, _RIGHT_TOGETHER):
                yield _Job(mechanism, seed, budget, exhaustive, correct=some)
            for some in _parted(mechanism, DEFECTS, _TOGETHER):
                yield _Job(mechanism, seed, budget, exhaustive, some)


def _parted(mechanism: str, items: Sequence[Defect | Correct], size: int) -> Iterator[tuple[int, ...]]:
    """Where those of a mechanism stand, so many at a time."""
    own = [i for i, item in enumerate(items) if item.mechanism == mechanism]
    for start in range(0, len(own), size):
        yield tuple(own[start : start + size])


def _recorded(
    chosen: Sequence[_Job], right: Sequence[Correct], jobs: int, record: Record | None
) -> Iterator[tuple[_Job, Done]]:
    """Each job with what it gave, now or before."""
    waiting = []
    for job in chosen:
        before = record.get(job) if record is not None else None
        if before is None:
            waiting.append(job)
        else:
            yield job, before
    for job, done in _performed(waiting, right, jobs):
        if record is not None:
            record.add(job, done)
        yield job, done


def _performed(chosen: Sequence[_Job], right: Sequence[Correct], jobs: int) -> Iterator[tuple[_Job, Done]]:
    """Each job with what it gave, in processes side by side if more than one is wanted."""
    if jobs <= 1:
        yield from ((job, _perform(job, right)) for job in chosen)
        return
    # Imported once, before the processes part: half of what exporting a program takes.
    import torch._dynamo
    import torch.export  # noqa: F401

    # What is there before they part is never garbage: to look through it time and again costs a tenth.
    gc.collect()
    gc.freeze()
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
    # What torch remarks while it exports or maps says nothing of the suite, and breaks its progress bar.
    logging.getLogger("torch._export").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        return (
            tuple(tried(DEFECTS[i], job.budget, job.seed, job.exhaustive) for i in job.defects),
            tuple(acquitted(right[i], job.budget, job.seed) for i in job.correct),
        )
