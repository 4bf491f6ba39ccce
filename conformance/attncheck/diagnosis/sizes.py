"""At which sizes does it fail: a concise predicate, learned from cases that are chosen one after another."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Final

import numpy as np

from attncheck.diagnosis.atoms import atoms
from attncheck.diagnosis.formulas import consistent
from attncheck.diagnosis.predicates import ALWAYS, Columns, Predicate, Truth, columns, equivalent, evaluate
from attncheck.diagnosis.space import Case, Space
from attncheck.diagnosis.variety import Variety

__all__ = ["FAILS", "PASSES", "Label", "Predicate", "Space", "equivalent", "learn"]

Label = str  # "passes", or the kind of failure: "raises", "wrong shape", "wrong values", ...

PASSES: Final = "passes"
# The key of the predicate that holds where any failure is seen, of whichever kind.
FAILS: Final = "fails"

_ACCURATE: Final = 0.98
# Fewer held-out cases than this would let pass one predicate in three that is wrong at 5 % of the sizes.
_HELD_OUT: Final = 20
# A kind of failure seen less often than this is an anecdote, not a law.
_FEWEST: Final = 3
_DISAGREEMENTS: Final = 6
_OUTSIDE: Final = 4
# An atom of a formula that fewer cases than this speak for may owe its place to chance.
_WITNESSES: Final = 4
_POOL: Final = 300
_CHOICE: Final = 20


def learn(
    label: Callable[[Case], Label],
    space: Space,
    *,
    seed: int,
    budget: int = 150,
    known_failing: Sequence[Case] = (),
    known_passing: Sequence[Case] = (),
) -> Mapping[Label, Predicate | None]:
    """Learn where each kind of failure occurs, and where any does (`FAILS`), with at most `budget` labels.

    None stands where no concise predicate says it: nothing is better than something wrong. The answer is
    empty if nothing failed. Known cases are labelled again, within half of the budget.
    """
    kept_back = max(_HELD_OUT, budget // 5)
    if budget < 2 * kept_back:
        raise ValueError(f"expected a budget of at least {2 * kept_back} cases, got {budget}")
    survey = _Survey(label, space, Random(seed), budget)
    survey.judge([*known_failing, *known_passing][: budget // 2])
    survey.explore(min(2 * budget // 5, survey.left - kept_back))
    while True:
        known = len(survey.cases)
        leaders = survey.settle(until=kept_back)
        accuracy = survey.examine(leaders, kept_back)
        good = {kind for kind, right in accuracy.items() if right >= _ACCURATE}
        # That nothing passes is only as sure as the search for a pass was long.
        settled = good == set(survey.kinds) and ALWAYS not in leaders.values()
        used_up = len(survey.cases) == known
        if settled or used_up or survey.left < kept_back + _DISAGREEMENTS:
            break
    return {
        kind: Predicate(leaders[kind], accuracy[kind], len(survey.cases)) if kind in good else None
        for kind in survey.kinds
    }


class _Survey:
    """The cases labelled so far, and what to label next."""

    def __init__(self, label: Callable[[Case], Label], space: Space, rng: Random, budget: int) -> None:
        self._label = label
        self._space = space
        self._further = space.doubled()
        self._variety = Variety(space)
        self._rng = rng
        self.left = budget
        self.cases: list[Case] = []
        self._labels: list[Label] = []
        self._seen: set[tuple[object, ...]] = set()

    @property
    def kinds(self) -> list[Label]:
        failures = sorted(set(self._labels) - {PASSES})
        return [FAILS, *failures] if failures else []

    def judge(self, cases: Iterable[Case]) -> None:
        """Label new cases, as long as the budget lasts."""
        for given in cases:
            case = self._restricted(given)
            if self.left and self._is_new(case):
                self._seen.add(self._key(case))
                self._variety.note(case)
                self.left -= 1
                self.cases.append(case)
                self._labels.append(self._label(case))

    def explore(self, calls: int) -> None:
        """Draw at large, then around what is rare: one failure among passes is worth its neighbours."""
        enough = self.left - calls
        while self.left > enough:
            rare = self._rare_cases()
            near = rare and self._rng.random() < 0.25
            pool = self._drawn(1 if near else _CHOICE, self._space, near=rare if near else ())
            if not pool:
                return
            self.judge([self._variety.most_novel(pool)])

    def settle(self, *, until: int) -> dict[Label, str]:
        """Label cases on which rivals disagree, and cases outside the space, until nothing changes."""
        quiet = 0
        while True:
            formulas = self._formulas()
            leaders = {kind: found[0] for kind, found in formulas.items() if found}
            probes = self._disagreements(formulas)
            if quiet == 2 or self.left <= until:
                return leaders
            outside = self._drawn(_OUTSIDE, self._further)
            quiet = 0 if probes else quiet + 1
            known = len(self.cases)
            self.judge([*probes, *outside][: self.left - until])
            if len(self.cases) == known:
                return leaders
            if self._surprised(leaders, known):
                quiet = 0

    def examine(self, leaders: Mapping[Label, str], calls: int) -> dict[Label, float]:
        """Measure each leader on fresh cases, on both of its sides, and keep these as evidence."""
        known = len(self.cases)
        pool = self._drawn(_POOL, self._space, near=self._rare_cases(), share=0.4)
        groups = [self._rng.sample(pool, len(pool))]
        if pool:
            table = columns(pool)
            for text in leaders.values():
                held = evaluate(text, table)
                groups += [[case for case, here in zip(pool, held, strict=True) if here]]
                groups += [[case for case, here in zip(pool, held, strict=True) if not here]]
        fresh: list[Case] = []
        for at in range(len(pool)):
            fresh += [group[at] for group in groups if at < len(group)]
        enough = self.left - calls
        for case in fresh:
            if self.left > enough:
                self.judge([case])
        # A space that is used up leaves nothing to hold out: then the evidence is every case there is.
        used_up = len(self.cases) == known
        right = {kind: self._agreement(text, kind, 0 if used_up else known) for kind, text in leaders.items()}
        fewest = 1 if used_up else _FEWEST
        return {kind: share for kind, share in right.items() if self._failing(kind).sum() >= fewest}

    def _agreement(self, text: str, kind: Label, since: int) -> float:
        held = evaluate(text, columns(self.cases[since:]))
        return float((held == self._failing(kind)[since:]).mean())

    def _surprised(self, leaders: Mapping[Label, str], since: int) -> bool:
        if set(leaders) != set(self.kinds):
            return True
        return any(self._agreement(text, kind, since) < 1 for kind, text in leaders.items())

    def _failing(self, kind: Label) -> Truth:
        return np.array(
            [name == kind or (kind == FAILS and name != PASSES) for name in self._labels], np.bool_
        )

    def _formulas(self) -> dict[Label, list[str]]:
        """Formulas for each kind of failure, learned once where two kinds are the same cases."""
        table = columns(self.cases)
        learned: dict[bytes, list[str]] = {}
        for kind in self.kinds:
            failing = self._failing(kind)
            if failing.tobytes() not in learned:
                learned[failing.tobytes()] = [ALWAYS] if failing.all() else self._learned(table, failing)
        return {kind: learned[self._failing(kind).tobytes()] for kind in self.kinds}

    def _learned(self, table: Columns, failing: Truth) -> list[str]:
        offered, truth = atoms(table, failing, self._space)
        found = consistent(offered, truth, failing)
        doubtful = [text for text in found[0].weakened() if self._witnesses(text, failing)] if found else []
        return [*(formula.text for formula in found), *doubtful]

    def _witnesses(self, weaker: str, failing: Truth) -> list[Case]:
        """The cases that speak against a weaker formula, if they are few."""
        against = evaluate(weaker, columns(self.cases)) != failing
        return [] if against.sum() >= _WITNESSES else [self.cases[at] for at in np.flatnonzero(against)]

    def _disagreements(self, rivals: Mapping[Label, Sequence[str]]) -> list[Case]:
        """Cases on which the rivals of one kind split most evenly, each in a way of its own."""
        pool = self._drawn(_POOL, self._space, near=self.cases, share=0.5)
        pool += self._drawn(_POOL // 3, self._further)
        for kind, texts in rivals.items():
            for witnesses in (self._witnesses(text, self._failing(kind)) for text in texts):
                pool += self._drawn(_POOL // 10, self._space, near=witnesses) if witnesses else []
        if not pool:
            return []
        table = columns(pool)
        chosen: dict[bytes, tuple[float, int]] = {}
        for texts in rivals.values():
            if not texts:
                continue
            votes = np.array([evaluate(text, table) for text in texts])
            doubt = np.minimum(votes.sum(axis=0), (~votes).sum(axis=0))
            for at in np.flatnonzero(doubt).tolist():
                chosen.setdefault(votes[:, at].tobytes(), (-float(doubt[at]), at))
        return [pool[at] for _, at in sorted(chosen.values())[:_DISAGREEMENTS]]

    def _rare_cases(self) -> list[Case]:
        failing = self._failing(FAILS)
        rare = 2 * failing.sum() <= len(failing)
        return [case for case, failed in zip(self.cases, failing, strict=True) if failed == rare]

    def _drawn(
        self, count: int, space: Space, *, near: Sequence[Case] = (), share: float = 1.0
    ) -> list[Case]:
        """Draw distinct unlabelled cases, a share of them as neighbours; fewer if none are left."""
        drawn: dict[tuple[object, ...], Case] = {}
        for _ in range(3 * count + 20):
            close = near and self._rng.random() < share
            case = space.neighbour(self._rng.choice(near), self._rng) if close else space.draw(self._rng)
            if case is not None and self._is_new(case):
                drawn[self._key(case)] = case
            if len(drawn) == count:
                break
        return list(drawn.values())

    def _restricted(self, case: Case) -> Case:
        missing = [name for name in self._space.names if name not in case]
        if missing:
            raise LookupError(f"a case must give {', '.join(missing)}; it gives only {', '.join(case)}")
        return {name: case[name] for name in self._space.names}

    def _is_new(self, case: Case) -> bool:
        return self._key(case) not in self._seen

    def _key(self, case: Case) -> tuple[object, ...]:
        return tuple(case[name] for name in self._space.names)
