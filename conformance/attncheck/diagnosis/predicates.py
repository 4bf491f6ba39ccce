"""The language in which a failure's sizes are told: parsed, evaluated on many cases at once, compared."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from attncheck.diagnosis.space import Case, Space

Columns = Mapping[str, NDArray[Any]]
Truth = NDArray[np.bool_]

ALWAYS: Final = "always"
NEVER: Final = "never"

# English that Python's grammar does not know, and the single words that stand for it while it is parsed.
_PHRASES: Final = (("a power of 2", "power_of_2"), ("a square", "square"))


@dataclass(frozen=True)
class Predicate:
    """A condition on sizes and options, with the evidence for it."""

    text: str
    accuracy: float
    judged: int

    def holds(self, sizes: Case) -> bool:
        return bool(evaluate(self.text, columns([sizes]))[0])


def columns(cases: Sequence[Case]) -> dict[str, NDArray[Any]]:
    """Turn cases into one column per name; columns that are neither sizes nor flags keep their objects."""
    if not cases:
        return {}
    return {name: _column([case[name] for case in cases]) for name in cases[0]}


def _column(values: list[object]) -> NDArray[Any]:
    if all(isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.bool_)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=np.int64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def evaluate(text: str, table: Columns) -> Truth:
    """Say for each row whether the predicate holds.

    Raises: ValueError if the text is not a predicate, LookupError if it names what the table lacks.
    """
    rows = len(next(iter(table.values()))) if table else 0
    return np.broadcast_to(np.asarray(_parsed(text)(table), dtype=np.bool_), (rows,))


def equivalent(one: str, other: str, space: Space, *, points: int = 40_000) -> bool:
    """Whether two predicates agree on a grid over the space; the grid holds about `points` cases."""
    table = columns(space.grid(points))
    return bool((evaluate(one, table) == evaluate(other, table)).all())


@lru_cache(maxsize=65_536)
def _parsed(text: str) -> Callable[[Columns], NDArray[Any]]:
    if text in (ALWAYS, NEVER):
        return lambda _table: np.array(text == ALWAYS)
    source = text
    for phrase, word in _PHRASES:
        source = source.replace(phrase, word)
    try:
        return _truth(ast.parse(source, mode="eval").body)
    except (SyntaxError, _OutsideLanguageError) as error:
        raise ValueError(
            f"expected a predicate such as 'heads > 1 and q_len != kv_len', got {text!r}: {error}"
        ) from error


class _OutsideLanguageError(Exception):
    """A Python expression that says nothing about sizes."""


def _remainder(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    # A size may be zero: nothing but zero is a multiple of it.
    remainder: NDArray[Any] = np.where(right == 0, left, left % np.maximum(right, 1))
    return remainder


def _is_power_of_2(sizes: NDArray[Any]) -> NDArray[Any]:
    single_bit: NDArray[Any] = (sizes > 0) & (sizes & (sizes - 1) == 0)
    return single_bit


def _is_square(sizes: NDArray[Any]) -> NDArray[Any]:
    square: NDArray[Any] = np.rint(np.sqrt(sizes)) ** 2 == sizes
    return square


_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[..., NDArray[Any]]]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Mod: _remainder,
}
_RELATIONS: Final[Mapping[type[ast.cmpop], Callable[..., NDArray[Any]]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_PROPERTIES: Final[Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "odd": lambda sizes: sizes % 2 == 1,
    "even": lambda sizes: sizes % 2 == 0,
    "power_of_2": _is_power_of_2,
    "square": _is_square,
}


def _truth(node: ast.expr) -> Callable[[Columns], NDArray[Any]]:
    match node:
        case ast.BoolOp(op=joint, values=values):
            parts = [_truth(value) for value in values]
            join = np.logical_and if isinstance(joint, ast.And) else np.logical_or
            return lambda table: join.reduce([part(table) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _truth(operand)
            return lambda table: np.logical_not(inner(table))
        case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot() as relation], comparators=[right]):
            return _property(left, right, negated=isinstance(relation, ast.IsNot))
        case ast.Compare(left=left, ops=[relation], comparators=[right]) if type(relation) in _RELATIONS:
            compare, one, other = _RELATIONS[type(relation)], _term(left), _term(right)
            return lambda table: compare(one(table), other(table))
        case ast.Name(id=flag):
            return lambda table: _named(flag, table)
        case _:
            raise _OutsideLanguageError(f"{ast.unparse(node)!r} is neither true nor false")


def _property(subject: ast.expr, complement: ast.expr, *, negated: bool) -> Callable[[Columns], NDArray[Any]]:
    term = _term(subject)
    match complement:
        case ast.Name(id=word) if word in _PROPERTIES:
            has = _PROPERTIES[word]
            return lambda table: has(term(table)) != negated
        case ast.Constant(value=None):
            return lambda table: np.array([(value is None) != negated for value in term(table)])
        case _:
            raise _OutsideLanguageError(
                f"'is {ast.unparse(complement)}' is not known; sizes are {', '.join(_PROPERTIES)}"
            )


def _term(node: ast.expr) -> Callable[[Columns], NDArray[Any]]:
    match node:
        case ast.Name(id=name):
            return lambda table: _named(name, table)
        case ast.Constant(value=int() | float() | str() as value):
            constant = np.array(value)
            return lambda _table: constant
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _ARITHMETIC:
            compute, one, other = _ARITHMETIC[type(sign)], _term(left), _term(right)
            return lambda table: compute(one(table), other(table))
        case _:
            raise _OutsideLanguageError(f"{ast.unparse(node)!r} is not a size")


def _named(name: str, table: Columns) -> NDArray[Any]:
    if name not in table:
        raise LookupError(f"the predicate speaks of {name}, but the case has only {', '.join(sorted(table))}")
    return table[name]
