"""The ways that a callable can take, found one by one until no legal size is left over."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice, permutations

from attncheck.shapes import symbolic
from attncheck.shapes.expressions import both, differs, negation
from attncheck.shapes.question import Question
from attncheck.shapes.solver import Answer, Point, Solver

# Distinct, so that no mix-up of two axes fits by luck.
_PRIMES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_LIKELY = (1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100)


@dataclass(frozen=True)
class Path:
    """All sizes for which `conditions` hold: there the callable does the same, up to the sizes.

    `outcome` is `ok`, `wrong` (the shape is not the expected one where `wrong_if` holds), `crash`,
    or `unknown`. `witness` is the smallest point that shows it; `replayed` what a real run did
    there: `confirmed`, `contradicted`, or `no` for a run too large to be made.
    """

    outcome: str
    conditions: tuple[str, ...]
    at: Mapping[str, int]
    shape: tuple[str, ...] = ()
    error: str = ""
    wrong_if: str = "False"
    only_here: str = ""
    witness: Mapping[str, int] | None = None
    replayed: str = "no"

    @property
    def region(self) -> str:
        """The path's condition as one text."""
        return both(self.conditions)

    @property
    def failing(self) -> str:
        """The condition under which this path breaks the contract."""
        if self.outcome == "crash":
            return self.region
        return both((*self.conditions, self.wrong_if)) if self.outcome == "wrong" else "False"


@dataclass(frozen=True)
class Exploration:
    """The paths found, and why the search ended before every legal size was covered."""

    paths: tuple[Path, ...]
    reason: str = ""


def explore(question: Question, solver: Solver, *, max_paths: int, seconds: float) -> Exploration:
    """Run on symbols at sizes outside all known paths, until the solver knows that there are none."""
    started = time.process_time()
    paths: list[Path] = []
    at = first_point(question, solver)
    while isinstance(at, dict):
        run = symbolic.run(question, at)
        if run.blind:
            return Exploration(tuple(paths), run.blind)
        paths.append(judge(question, solver, run))
        covered = [negation(path.region) for path in paths]
        at = _next_point(solver, covered)
        if isinstance(at, dict) and len(paths) >= max_paths:
            return Exploration(tuple(paths), f"explored {len(paths)} paths, and there are more")
        if isinstance(at, dict) and time.process_time() - started > seconds:
            return Exploration(
                tuple(paths), f"explored {len(paths)} paths in {seconds:g} s, and there are more"
            )
    if at is Answer.UNKNOWN:
        return Exploration(tuple(paths), f"explored {len(paths)} paths; z3 cannot tell if there are more")
    return Exploration(tuple(paths), "" if paths else "no sizes are legal")


def judge(question: Question, solver: Solver, run: symbolic.Run) -> Path:
    """Compare the shape on a path with the expected one, for all sizes on the path."""
    only_here = run.only_here or _unusable(solver, run)
    conditions = (
        tuple(f"{axis} == {size}" for axis, size in run.at.items())
        if only_here
        else solver.essential(run.conditions)
    )
    path = Path("ok", conditions, run.at, run.shape or (), run.crash, "False", only_here)
    if run.shape is None:
        return replace(path, outcome="crash", witness=_witness(solver, path))
    wrong_if = differs(run.shape, question.output)
    if not solver.can_ask(wrong_if):
        return replace(path, outcome="unknown", wrong_if=wrong_if)
    found = solver.smallest(path.region, wrong_if)
    if isinstance(found, dict):
        return replace(path, outcome="wrong", wrong_if=wrong_if, witness=found)
    if found is Answer.UNKNOWN:
        return replace(path, outcome="unknown", wrong_if=wrong_if)
    return replace(path, witness=_witness(solver, path))


def _unusable(solver: Solver, run: symbolic.Run) -> str:
    """Why a run's conditions cannot stand for more than the sizes it was made at."""
    for condition in run.conditions:
        if not solver.can_ask(condition):
            return f"z3 has no words for `{condition}`"
        if not solver.holds(condition, run.at):
            return f"`{condition}` does not hold where it was met"
    return ""


def _witness(solver: Solver, path: Path) -> Mapping[str, int]:
    found = solver.smallest(path.region)
    return found if isinstance(found, dict) else path.at


def first_point(question: Question, solver: Solver) -> Point | Answer:
    """Distinct primes if the domain has such a point near its bottom, else any point."""
    for primes in islice(permutations(_PRIMES, len(question.axes)), 200):
        point = dict(zip(question.axes, primes, strict=True))
        if solver.holds(solver.domain, point):
            return point
    above_one = both(f"{axis} > 1" for axis in question.axes)
    found = solver.find(above_one)
    return found if isinstance(found, dict) else _small(solver, [])


def _next_point(solver: Solver, conditions: list[str]) -> Point | Answer:
    found = _small(solver, conditions)
    if found is not Answer.UNKNOWN:
        return found
    # z3 gave up, which proves nothing; a point that it missed may still be found by luck.
    draw = random.Random(len(conditions))
    wanted = both((solver.domain, *conditions))
    for _ in range(2000):
        point = {axis: draw.choice(_LIKELY) for axis in solver.axes}
        if solver.holds(wanted, point):
            return point
    return Answer.UNKNOWN


def _small(solver: Solver, conditions: list[str]) -> Point | Answer:
    """A point with small sizes if there is one: a loop over a size runs as often as it says."""
    total = " + ".join(solver.axes) or "0"
    for bound in (10 * len(solver.axes), 100 * len(solver.axes)):
        found = solver.find(*conditions, f"{total} <= {bound}")
        if isinstance(found, dict):
            return found
    return solver.find(*conditions)
