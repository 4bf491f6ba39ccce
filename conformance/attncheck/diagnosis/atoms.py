"""The single conditions that a predicate is composed of, each with its cost: the price of reading it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from attncheck.diagnosis.predicates import Columns, Truth, evaluate
from attncheck.diagnosis.space import Space

Numbers = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Atom:
    """One condition: what it says, what it costs to read, and where it stands among others."""

    text: str
    cost: float
    place: tuple[int, ...]


# Moduli that windows, groups and vector widths are made of.
_MODULI: Final = (3, 4, 8, 16)
# A threshold inside a formula need not separate passes from failures by itself: the best splits are offered.
_SPLITS: Final = 6


def atoms(table: Columns, failing: Truth, space: Space) -> tuple[list[Atom], Truth]:
    """Offer conditions on the names of the space; row i of the matrix is where atom i holds."""
    numbers = {name: table[name] for name in space.names if table[name].dtype == np.int64}
    offers: list[tuple[str, float, tuple[str, ...]]] = []
    for name in space.names:
        kinds = _on_a_number(name, numbers[name], failing) if name in numbers else _on_an_option(name, table)
        offers += [(text, cost, (name,)) for text, cost in kinds]
    for pair in itertools.combinations(numbers, 2):
        offers += [(text, cost, pair) for text, cost in _on_a_pair(*pair, numbers, failing)]
        for third in numbers:
            if third not in pair:
                offers += [(text, cost, (*pair, third)) for text, cost in _on_three(*pair, third)]
    order = {name: at + len(space.names) * (name in numbers) for at, name in enumerate(space.names)}
    offered = [Atom(text, cost, tuple(order[name] for name in names)) for text, cost, names in offers]
    return offered, np.array([evaluate(atom.text, table) for atom in offered], dtype=np.bool_)


def _on_an_option(name: str, table: Columns) -> Iterator[tuple[str, float]]:
    if table[name].dtype == np.bool_:
        yield name, 1.0
        yield f"not {name}", 1.1
        return
    for value in sorted(set(table[name].tolist()), key=repr):
        if value is None:
            yield f"{name} is None", 1.1
            yield f"{name} is not None", 1.1
        else:
            yield f"{name} == {value!r}", 1.1
            yield f"{name} != {value!r}", 1.2


def _on_a_number(name: str, sizes: NDArray[Any], failing: Truth) -> Iterator[tuple[str, float]]:
    yield f"{name} is odd", 1.5
    yield f"{name} is even", 1.5
    yield f"{name} is a power of 2", 1.9
    yield f"{name} is not a power of 2", 1.9
    yield f"{name} is a square", 2.2
    yield f"{name} is not a square", 2.2
    for modulus in _MODULI:
        yield f"{name} % {modulus} == 0", 2.0
        yield f"{name} % {modulus} != 0", 2.0
    for value in _telling_values(sizes, failing):
        # One and zero are the sizes at which dimensions broadcast, reduce to nothing, or vanish.
        cost = 1.05 if value <= 1 else 2.0
        yield f"{name} == {value}", cost
        yield f"{name} != {value}", cost + 0.2
    for threshold, exact in _thresholds(sizes, failing, splits=_SPLITS):
        cost = (1.2 if threshold <= 1 else 1.5) + (0 if exact else 0.05)
        yield f"{name} > {threshold}", cost
        yield f"{name} <= {threshold}", cost + 0.1


def _on_a_pair(one: str, other: str, numbers: Numbers, failing: Truth) -> Iterator[tuple[str, float]]:
    yield f"{one} == {other}", 1.1
    yield f"{one} != {other}", 1.1
    for small, large in ((one, other), (other, one)):
        yield f"{large} > {small}", 1.3
        yield f"{large} >= {small}", 1.4
        yield f"{large} % {small} == 0", 1.7
        yield f"{large} % {small} != 0", 1.7
        yield f"{large} > 2 * {small}", 2.6
        yield f"{large} <= 2 * {small}", 2.6
    yield f"({one} + {other}) is odd", 2.4
    yield f"({one} + {other}) is even", 2.4
    terms = (
        (f"{one} * {other}", numbers[one] * numbers[other]),
        (f"{one} + {other}", numbers[one] + numbers[other]),
    )
    for term, values in terms:
        # A learned constant fits by chance more easily than a relation between names: it must cost more.
        for threshold, exact in _thresholds(values, failing, splits=1):
            cost = (3.2 if threshold > values.min() else 3.8) + (0 if exact else 0.05)
            yield f"{term} > {threshold}", cost
            yield f"{term} <= {threshold}", cost + 0.1
        for value in _telling_values(values, failing):
            yield f"{term} == {value}", 3.6
            yield f"{term} != {value}", 3.6


def _on_three(one: str, other: str, third: str) -> Iterator[tuple[str, float]]:
    for term, cost in ((f"{one} * {other}", 3.3), (f"{one} + {other}", 3.2)):
        for relation in ("==", "!="):
            yield f"{term} {relation} {third}", cost
        for relation in (">", "<="):
            yield f"{term} {relation} {third}", cost + 1
    yield f"{one} * {other} % {third} == 0", 3.3
    yield f"{one} * {other} % {third} != 0", 3.3
    yield f"{third} % ({one} * {other}) == 0", 3.3
    yield f"{third} % ({one} * {other}) != 0", 3.3


def _telling_values(sizes: NDArray[Any], failing: Truth) -> list[int]:
    """The values that may decide alone: zero, one, and those with which all cases fail, or all pass."""
    values, at = np.unique(sizes, return_inverse=True)
    seen = np.bincount(at)
    failed = np.bincount(at, weights=failing)
    pure = (failed == 0) | (failed == seen)
    alone = (failed == failing.sum()) | (seen - failed == (~failing).sum())
    first = values[(values <= 1) | alone]
    # With few cases every value is pure by chance: more than a handful say nothing.
    return [int(value) for value in np.unique([*first[:6], *values[pure & (seen > 1)][:6]])]


def _thresholds(values: NDArray[Any], failing: Truth, *, splits: int) -> list[tuple[int, bool]]:
    """Cuts between adjacent values: the tightest around each label, and those that split the labels best.

    Where the gap is wide, its middle and its far end are offered too, marked inexact: the evidence cannot
    tell them apart, so that the next cases will be chosen inside the gap.
    """
    distinct, at = np.unique(values, return_inverse=True)
    if len(distinct) < 2:
        return []
    failed = np.cumsum(np.bincount(at, weights=failing))[:-1]
    seen = np.cumsum(np.bincount(at))[:-1]
    rest, rest_failed = len(values) - seen, failing.sum() - failed
    impurity = failed * (1 - failed / seen) + rest_failed * (1 - rest_failed / rest)
    cuts = set(np.argsort(impurity, kind="stable")[:splits].tolist())
    for side in (values[failing], values[~failing]):
        if len(side):
            first, last = np.searchsorted(distinct, (side.min(), side.max()))
            cuts |= {int(first) - 1, int(last)}
    offered = []
    for cut in sorted(cuts & set(range(len(distinct) - 1))):
        below, above = int(distinct[cut]), int(distinct[cut + 1])
        offered += [(below, True)]
        offered += [(inner, False) for inner in sorted({(below + above - 1) // 2, above - 1} - {below})]
    return offered
