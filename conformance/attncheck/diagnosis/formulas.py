"""The formulas of few atoms that agree with all labelled cases, cheapest first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from attncheck.diagnosis.atoms import Atom
from attncheck.diagnosis.predicates import ALWAYS, NEVER, Truth

# More atoms than this are no explanation: they are a list of the cases.
_MOST_ATOMS: Final = 5
_MOST_CLAUSES: Final = 3
_BEAM: Final = 8
_AMONG: Final = 300
# Where two atoms explain all at no more than this cost, three are not tried; likewise three, and two levels.
_CHEAP_PAIR: Final = 4.0
_CHEAP_TRIPLE: Final = 5.8


@dataclass(frozen=True)
class Formula:
    """Clauses of atoms: an `or` of `and`s if `any_clause`, else an `and` of `or`s."""

    clauses: tuple[tuple[Atom, ...], ...]
    any_clause: bool

    @property
    def atoms(self) -> tuple[Atom, ...]:
        return tuple(atom for clause in self.clauses for atom in clause)

    @property
    def cost(self) -> float:
        joints = len(self.atoms) - 1
        nested = len(self.clauses) > 1 and any(len(clause) > 1 for clause in self.clauses)
        return sum(atom.cost for atom in self.atoms) + joints + 0.5 * nested

    @property
    def text(self) -> str:
        outer, inner = ("or", "and") if self.any_clause else ("and", "or")
        clauses = [sorted(clause, key=lambda atom: (atom.place, atom.text)) for clause in self.clauses]
        clauses.sort(key=lambda clause: (len(clause) > 1, [(atom.place, atom.text) for atom in clause]))
        texts = [f" {inner} ".join(atom.text for atom in clause) for clause in clauses]
        bare = len(clauses) == 1
        grouped = [
            text if bare or len(clause) == 1 else f"({text})"
            for text, clause in zip(texts, clauses, strict=True)
        ]
        return f" {outer} ".join(grouped)

    def swapped(self, old: Atom, new: Atom) -> "Formula":
        clauses = (tuple(new if atom == old else atom for atom in clause) for clause in self.clauses)
        return Formula(tuple(clauses), self.any_clause)

    def weakened(self) -> list[str]:
        """The texts that are left when one atom is taken away."""
        if len(self.atoms) == 1:
            return [ALWAYS, NEVER]
        texts = []
        for gone in self.atoms:
            rest = (tuple(atom for atom in clause if atom != gone) for clause in self.clauses)
            texts.append(Formula(tuple(clause for clause in rest if clause), self.any_clause).text)
        return texts


def consistent(atoms: Sequence[Atom], truth: Truth, failing: Truth, *, most: int = 8) -> list[Formula]:
    """List formulas that hold on every failing case and on no other, cheapest first.

    Behind them stand their rivals: one atom swapped for another that the cases do not tell apart.
    """
    twins = _twins(atoms, truth)
    kept = [group[0] for group in twins]
    offered, held = [atoms[at] for at in kept], truth[kept]
    found = [*_conjunctions(offered, held, failing), *_disjunctions(offered, held, failing)]
    if min((formula.cost for formula in found), default=np.inf) > _CHEAP_TRIPLE:
        found += _two_levels(offered, held, failing, any_clause=True)
        found += _two_levels(offered, ~held, ~failing, any_clause=False)
    best = _cheapest(found, most)
    alike = {atoms[group[0]]: [atoms[at] for at in group[1:6]] for group in twins}
    rivals = [
        formula.swapped(atom, twin)
        for formula in best[:3]
        for atom in formula.atoms
        for twin in alike.get(atom, ())
    ]
    return [*best, *_cheapest(rivals, 2 * most)]


def _cheapest(formulas: Iterable[Formula], most: int) -> list[Formula]:
    by_text = {formula.text: formula for formula in formulas}
    return sorted(by_text.values(), key=lambda formula: (formula.cost, formula.text))[:most]


def _twins(atoms: Sequence[Atom], truth: Truth) -> list[list[int]]:
    """Group the atoms that hold on the same cases, cheapest first, without those that never change."""
    groups: dict[bytes, list[int]] = {}
    varies = truth.any(axis=1) & ~truth.all(axis=1)
    for at in sorted(np.flatnonzero(varies).tolist(), key=lambda at: (atoms[at].cost, at)):
        groups.setdefault(truth[at].tobytes(), []).append(at)
    return list(groups.values())


def _conjunctions(atoms: Sequence[Atom], truth: Truth, failing: Truth) -> list[Formula]:
    """Atoms true on all failures, which together exclude every pass."""
    needed = np.flatnonzero(truth[:, failing].all(axis=1)).tolist()
    sets = _covers(~truth[needed][:, ~failing], [atoms[at].cost for at in needed])
    return [Formula((tuple(atoms[needed[at]] for at in chosen),), any_clause=True) for chosen in sets]


def _disjunctions(atoms: Sequence[Atom], truth: Truth, failing: Truth) -> list[Formula]:
    """Atoms false on all passes, which together reach every failure."""
    enough = np.flatnonzero(~truth[:, ~failing].any(axis=1)).tolist()
    sets = _covers(truth[enough][:, failing], [atoms[at].cost for at in enough])
    return [Formula(tuple((atoms[enough[at]],) for at in chosen), any_clause=True) for chosen in sets]


def _covers(rows: Truth, costs: Sequence[float]) -> list[tuple[int, ...]]:
    """Sets of at most three rows whose union is everything, none of them superfluous."""
    if not len(rows):
        return []
    price = np.array(costs)
    open_ = (~rows).astype(np.float32)
    alone = open_.sum(axis=1) == 0
    found: list[tuple[int, ...]] = [(int(at),) for at in np.flatnonzero(alone)]
    order = np.argsort(price - 3 * rows.mean(axis=1), kind="stable")
    rest = order[~alone[order]][:250]
    pair = open_[rest] @ open_[rest].T == 0
    found += [(int(rest[i]), int(rest[j])) for i, j in np.argwhere(np.triu(pair, 1))]
    if min((price[list(chosen)].sum() + len(chosen) - 1 for chosen in found), default=np.inf) > _CHEAP_PAIR:
        found += _triples(open_, rest[:80], pair[:80, :80])
    found.sort(key=lambda chosen: (price[list(chosen)].sum() + len(chosen), chosen))
    return found[:60]


def _triples(open_: NDArray[np.float32], rest: NDArray[Any], pair: Truth) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for i, first in enumerate(rest):
        left = open_[rest][:, open_[first] == 1]
        both = (left @ left.T == 0) & ~pair & ~pair[i][:, None] & ~pair[i][None, :]
        both[: i + 1] = False
        found += [(int(first), int(rest[j]), int(rest[k])) for j, k in np.argwhere(np.triu(both, 1))]
    return found


@dataclass(frozen=True)
class _Partial:
    clauses: frozenset[tuple[int, ...]]
    cost: float
    missed: Truth


def _two_levels(atoms: Sequence[Atom], truth: Truth, failing: Truth, *, any_clause: bool) -> list[Formula]:
    """Beam search for an `or` of `and`s; with all truths negated it finds an `and` of `or`s."""
    price = np.array([atom.cost for atom in atoms], dtype=np.float32)
    weight = np.abs(truth[:, failing].mean(axis=1) - truth[:, ~failing].mean(axis=1))
    kept = np.argsort(price - 4 * weight, kind="stable")[:_AMONG]
    among, price = truth[kept], price[kept]
    passes = among[:, ~failing].astype(np.float32)
    cost = price[:, None] + price[None, :] + 1
    np.fill_diagonal(cost, price)
    # A clause must be false on every pass; of the two orders of its atoms one is enough.
    cost[(passes @ passes.T > 0) | np.triu(np.ones(cost.shape, np.bool_), 1)] = np.inf
    states = [_Partial(frozenset(), 0.0, failing)]
    found: list[Formula] = []
    for _ in range(_MOST_CLAUSES):
        grown = {new.clauses: new for state in states for new in _grown(state, among, cost)}
        ranked = sorted(
            grown.values(), key=lambda new: (new.missed.sum() + 2 * new.cost, sorted(new.clauses))
        )
        for state in ranked:
            if not state.missed.any():
                clauses = (tuple(atoms[kept[at]] for at in clause) for clause in sorted(state.clauses))
                found.append(Formula(tuple(clauses), any_clause))
        states = [state for state in ranked if state.missed.any()][:_BEAM]
    return [formula for formula in found if len(formula.atoms) <= _MOST_ATOMS]


def _grown(state: _Partial, truth: Truth, cost: NDArray[np.float32]) -> list[_Partial]:
    """Add each of the best clauses of one or two atoms that reach something new."""
    missed = truth[:, state.missed].astype(np.float32)
    reached = missed @ missed.T
    # Each unit of cost must be earned by failures that nothing else explains.
    loss = (cost * np.float32(0.2 + 0.02 * missed.shape[1]) - reached).ravel()
    best = np.argpartition(loss, _BEAM)[:_BEAM] if loss.size > _BEAM else np.arange(loss.size)
    grown = []
    for flat in best[np.lexsort((best, loss[best]))]:
        one, other = divmod(int(flat), len(cost))
        if reached[one, other] == 0 or np.isinf(loss[flat]):
            continue
        clauses = state.clauses | {(one,) if one == other else (other, one)}
        missed_now = state.missed & ~(truth[one] & truth[other])
        grown.append(_Partial(clauses, state.cost + float(cost[one, other]), missed_now))
    return grown
