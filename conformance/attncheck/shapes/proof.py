"""Is a shape contract kept for all sizes? The proof, its results, and how real runs confirm it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from attncheck.shapes.expressions import both, holds
from attncheck.shapes.paths import Exploration, Path, explore
from attncheck.shapes.predicate import simplify
from attncheck.shapes.question import Question, Shape, Sizes
from attncheck.shapes.replay import Replay, in_turn, replay
from attncheck.shapes.solver import Solver

TRUST = "torch's meta kernels are trusted to give the shapes that its real kernels give"


@dataclass(frozen=True)
class Witness:
    """Sizes at which a real run broke the contract, and how."""

    sizes: Sizes
    outcome: str
    detail: str


@dataclass(frozen=True)
class Proof:
    """What is known of a shape contract.

    `proved`: it is kept for all sizes of `domain`. `refuted`: real runs broke it at `witnesses`,
    and it breaks where `predicate` holds (exactly there if `complete`). `open`: see `reason`.
    `scope` says what was not a symbol; `replayed` counts the real runs; `seconds` are of the
    processor, so that a busy machine does not change what is found.
    """

    status: str
    paths: tuple[Path, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    predicate: str = ""
    reason: str = ""
    complete: bool = False
    replayed: int = 0
    domain: str = ""
    fixed: Sizes | None = None
    scope: str = ""
    seconds: float = 0.0

    def predict(self, sizes: Sizes) -> str | None:
        """`ok`, `wrong` or `crash` at these sizes; None where no path was found that real runs confirm."""
        everything = {**(self.fixed or {}), **sizes}
        for path in self.paths:
            if holds(path.region, everything):
                if path.outcome == "wrong" and not holds(path.wrong_if, everything):
                    return "ok"
                unknown = path.outcome == "unknown" or path.replayed == "contradicted"
                return None if unknown else path.outcome
        return None


def prove(
    build: Callable[[], Callable[..., torch.Tensor]],
    inputs: Mapping[str, Shape],
    output: Shape,
    *,
    dtype: torch.dtype = torch.float32,
    fixed: Sizes | None = None,
    legal: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    max_paths: int = 200,
    seconds: float = 30.0,
) -> Proof:
    """Prove or refute, for all sizes, that the result has the dimensions `output`. Never raises.

    `build` makes a fresh instance; dimensions are Python expressions over axis names.
    """
    question = Question(
        lambda _: build(), inputs, output, dtype, dict(fixed or {}), tuple(legal), (), dict(kinds or {})
    )
    return answer(question, max_paths=max_paths, seconds=seconds)


def answer(question: Question, *, max_paths: int = 200, seconds: float = 30.0) -> Proof:
    """The proof for a question, which may have constructor sizes as symbols too. Never raises."""
    started = time.process_time()
    try:
        solver = Solver(question.axes, question.domain, question.fixed)
        explored = explore(question, solver, max_paths=max_paths, seconds=seconds)
        proof = _conclude(question, solver, explored)
    except (ModuleNotFoundError, NameError, ValueError) as error:
        proof = Proof("open", reason=str(error))
    return replace(
        proof,
        domain=both(question.domain),
        fixed=question.fixed,
        seconds=time.process_time() - started,
    )


def _conclude(question: Question, solver: Solver, explored: Exploration) -> Proof:
    """Confirm what the symbols said by real runs, and say what follows."""
    runs = [replay(question, path.witness or path.at) for path in explored.paths]
    paths = tuple(_confirmed(path, run) for path, run in zip(explored.paths, runs, strict=True))
    witnesses = [Witness(r.sizes, r.outcome, r.detail) for r in runs if r.outcome in ("wrong", "crash")]
    misled = any(path.outcome == "ok" and path.replayed == "contradicted" for path in paths)
    # What a fresh instance does wrong, an old one need not be asked.
    turn = [] if question.constructor or misled else _points_in_turn(question, solver, paths)
    stale = in_turn(question, turn)
    if stale is not None:
        before = " and ".join(_listed(point) for point in turn[: turn.index(stale.sizes)])
        detail = f"{stale.detail}, on an instance that had run at {before}" if before else stale.detail
        witnesses.append(Witness(stale.sizes, stale.outcome, detail))
    witnesses.sort(key=lambda witness: sum(witness.sizes.values()))
    failing = [_term(path) for path in paths if path.failing != "False" and path.replayed != "contradicted"]
    reason = _why_open(explored, paths)
    return Proof(
        "refuted" if witnesses else "open" if reason else "proved",
        paths,
        tuple(witnesses),
        predicate=simplify(solver, failing) if witnesses and failing else "",
        reason=reason,
        complete=not reason,
        replayed=sum(run.outcome != "skipped" for run in runs) + len(turn),
    )


def _confirmed(path: Path, run: Replay) -> Path:
    if run.outcome == "skipped":
        return replace(path, replayed="no")
    agrees = (path.outcome in ("ok", "unknown")) == (run.outcome == "ok")
    # A real message names sizes; one of the symbolic run names torch's symbols.
    error = run.detail if agrees and path.outcome == "crash" else path.error
    return replace(path, error=error, replayed="confirmed" if agrees else "contradicted")


def _term(path: Path) -> tuple[str, ...]:
    return path.conditions if path.outcome == "crash" else (*path.conditions, path.wrong_if)


def _why_open(explored: Exploration, paths: Sequence[Path]) -> str:
    for path in paths:
        if path.outcome == "unknown":
            return f"z3 cannot tell whether the shape is right where {path.region}"
        if path.outcome == "ok" and path.replayed == "contradicted":
            return "the code does with plain integers what it does not with symbols"
        if path.failing != "False" and path.replayed == "contradicted":
            fault = path.error or f"the shape {path.shape}"
            return f"the symbols say {fault} at {_listed(path.witness or path.at)}, a real run is right there"
        if path.failing != "False" and path.replayed == "no":
            return (
                f"a failure at {_listed(path.witness or path.at)} is too large to be confirmed by a real run"
            )
    return explored.reason


def _points_in_turn(question: Question, solver: Solver, paths: Sequence[Path]) -> list[Sizes]:
    """Up to four different points that should be right, to be run on one instance in turn."""
    axes = question.axes
    rows = [(5, 7, 11, 13, 3, 2, 17), (3, 2, 5, 7, 2, 5, 3), (1,) * 7, (8, 4, 6, 2, 12, 4, 10)]
    drawn: list[Sizes] = [{axis: row[i % 7] for i, axis in enumerate(axes)} for row in rows]
    found = [path.witness for path in paths if path.outcome == "ok" and path.witness]
    points: list[Sizes] = []
    for point in (*drawn, *found):
        right = any(p.outcome == "ok" and solver.holds(p.region, point) for p in paths)
        if right and solver.holds(solver.domain, point) and point not in points:
            points.append(point)
    return points[:4]


def _listed(sizes: Sizes) -> str:
    return " ".join(f"{axis}={size}" for axis, size in sizes.items())
