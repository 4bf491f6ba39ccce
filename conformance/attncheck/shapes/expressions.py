"""Conditions and dimensions as text: Python expressions over axis names."""

import ast
import contextlib
import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast


@functools.lru_cache(maxsize=16384)
def plain(text: str) -> str:
    """The expression without needless parentheses."""
    return ast.unparse(ast.parse(text.strip(), mode="eval"))


@functools.lru_cache(maxsize=16384)
def names_in(text: str) -> tuple[str, ...]:
    """The axes of an expression, in order of appearance."""
    nodes = [n for n in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(n, ast.Name)]
    nodes.sort(key=lambda node: node.col_offset)
    return tuple(dict.fromkeys(node.id for node in nodes if node.id not in ("max", "min")))


@functools.lru_cache(maxsize=16384)
def _compiled(text: str) -> Any:
    return compile(text.strip(), "<sizes>", "eval")


def value(text: str, sizes: Mapping[str, object]) -> Any:
    """Evaluate an expression; sizes may be symbolic integers. Raises NameError for an unknown axis."""
    return eval(_compiled(text), {"__builtins__": {"max": max, "min": min}}, dict(sizes))


def holds(text: str, sizes: Mapping[str, int]) -> bool:
    """Whether a condition is true at these sizes; one that divides by zero there is not."""
    try:
        return bool(value(text, sizes))
    except ZeroDivisionError:
        return False


def both(conditions: Iterable[str]) -> str:
    """The conjunction of some conditions."""
    return _joined("and", (c for c in conditions if c != "True")) or "True"


def either(conditions: Iterable[str]) -> str:
    """The disjunction of some conditions."""
    return _joined("or", (c for c in conditions if c != "False")) or "False"


def _joined(word: str, conditions: Iterable[str]) -> str:
    # ast.unparse would put the last of three parts in parentheses.
    parts = tuple(dict.fromkeys(plain(condition) for condition in conditions))
    if len(parts) == 1:
        return parts[0]
    compound = (ast.BoolOp, ast.IfExp)
    trees = [ast.parse(part, mode="eval").body for part in parts]
    shown = [f"({p})" if isinstance(t, compound) else p for p, t in zip(parts, trees, strict=True)]
    return f" {word} ".join(shown)


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE,
    ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
}  # fmt: skip


@functools.lru_cache(maxsize=16384)
def negation(condition: str) -> str:
    """The opposite condition, without a leading `not` where a comparison can be turned round."""
    node = ast.parse(condition.strip(), mode="eval").body
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPPOSITE:
        node.ops = [_OPPOSITE[type(node.ops[0])]()]
        return ast.unparse(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ast.unparse(node.operand)
    if isinstance(node, ast.BoolOp):
        parts = [negation(ast.unparse(part)) for part in node.values]
        return either(parts) if isinstance(node.op, ast.And) else both(parts)
    return plain(f"not ({condition})")


def conjuncts(condition: str) -> tuple[str, ...]:
    """The conditions of which all hold where this one does."""
    return _conjuncts(ast.parse(condition, mode="eval").body)


def _conjuncts(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return tuple(part for each in node.values for part in _conjuncts(each))
    return (ast.unparse(node),)


def alternatives(condition: str) -> list[tuple[str, ...]]:
    """The condition as a disjunction of conjunctions of conditions that are neither."""
    node = ast.parse(condition.strip(), mode="eval").body
    if not isinstance(node, ast.BoolOp):
        return [(condition,)]
    parts = [alternatives(ast.unparse(part)) for part in node.values]
    if isinstance(node.op, ast.Or):
        return [term for part in parts for term in part]
    return [tuple(atom for term in terms for atom in term) for terms in itertools.product(*parts)]


def differs(shape: tuple[str, ...], expected: tuple[str, ...]) -> str:
    """The condition under which two lists of dimensions are not the same."""
    if len(shape) != len(expected):
        return "True"
    pairs = [(a, b) for a, b in zip(shape, expected, strict=True) if plain(a) != plain(b)]
    return either(f"({a}) != ({b})" for a, b in pairs)


@dataclass(frozen=True)
class Expression:
    """What a name stands for, where that is no plain value but depends on other names."""

    text: str


class _Bound(ast.NodeTransformer):
    """Puts values in the place of names, and folds what no longer depends on any name."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name) and node.id in self.values:
            found = self.values[node.id]
            if isinstance(found, Expression):
                return ast.parse(found.text, mode="eval").body
            return ast.Constant(cast(Any, found))
        changed = self.generic_visit(node)
        if isinstance(changed, ast.BoolOp):
            changed = _shortened(changed)
        if isinstance(changed, ast.IfExp) and isinstance(changed.test, ast.Constant):
            changed = changed.body if changed.test.value else changed.orelse
        if isinstance(changed, ast.expr) and not isinstance(changed, ast.Constant | ast.Name | ast.Tuple):
            text = ast.unparse(changed)
            # What divides by zero stays as it is: a rule beside it says that this is not legal.
            with contextlib.suppress(ZeroDivisionError):
                return changed if names_in(text) else ast.Constant(value(text, {}))
        return changed


def _shortened(node: ast.BoolOp) -> ast.expr:
    """A conjunction or disjunction without the parts that are known."""
    decisive = isinstance(node.op, ast.Or)
    rest: list[ast.expr] = []
    for part in node.values:
        if not isinstance(part, ast.Constant):
            rest.append(part)
        elif bool(part.value) is decisive:
            return ast.Constant(decisive)
    if not rest:
        return ast.Constant(not decisive)
    return rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def bind(text: str, values: Mapping[str, object]) -> str:
    """The expression with some names replaced by their values, and shortened where that decides it."""
    return ast.unparse(_Bound(values).visit(ast.parse(text.strip(), mode="eval").body))
