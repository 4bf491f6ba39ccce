"""Conditions and dimensions as text: Python expressions over axis names, made from sympy and evaluated."""

# sympy finds a printer's methods by the names of its classes.
# ruff: noqa: N802, N815

import ast
import contextlib
import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import sympy
from sympy.printing.str import StrPrinter


class UntranslatableError(Exception):
    """An expression has a symbol or a function that has no place in a condition on sizes."""


class _PythonText(StrPrinter):  # type: ignore[misc]  # sympy ships no types
    """Prints what torch's symbolic shapes are made of; refuses everything else."""

    def __init__(self, names: Mapping[str, str]) -> None:
        super().__init__()
        self.names = names

    def _print_Symbol(self, symbol: Any) -> str:
        if symbol.name not in self.names:
            raise UntranslatableError(f"{symbol.name} is not the size of an axis")
        return self.names[symbol.name]

    def _print_Relational(self, relation: Any) -> str:
        left, right = relation.lhs, relation.rhs
        if left.free_symbols & right.free_symbols:
            # Sizes are positive: what both sides are multiplied by says nothing, and is hard on z3.
            for factor in sympy.Mul.make_args(sympy.gcd(left, right)):
                if factor.is_positive:
                    left, right = sympy.expand(left / factor), sympy.expand(right / factor)
        return f"({self._print(left)} {relation.rel_op} {self._print(right)})"

    def _print_And(self, expression: Any) -> str:
        return f"({' and '.join(self._print(part) for part in expression.args)})"

    def _print_Or(self, expression: Any) -> str:
        return f"({' or '.join(self._print(part) for part in expression.args)})"

    def _print_Not(self, expression: Any) -> str:
        return f"({negation(self._print(expression.args[0]))})"

    def _print_Float(self, number: Any) -> str:
        if number != int(number):
            raise UntranslatableError(f"{number} is a fraction in floating point")
        return str(int(number))

    def _print_floor(self, expression: Any) -> str:
        above, below = sympy.fraction(sympy.together(expression.args[0]))
        return f"(({self._print(above)}) // ({self._print(below)}))"

    def _print_Function(self, expression: Any) -> str:
        kind, args = type(expression).__name__, expression.args
        if kind in ("CeilToInt", "FloorToInt", "TruncToInt"):
            return self._rounded(kind, args[0])
        if kind == "Identity":
            return str(self._print(args[0]))
        if kind in _FORMS:
            return _FORMS[kind].format(*(self._print(argument) for argument in args))
        raise UntranslatableError(f"{kind} is not known")

    # torch's Max and Min are no sympy functions, so the printer would not find them above.
    _print_Max = _print_Min = _print_Function

    def _rounded(self, kind: str, ratio: Any) -> str:
        if type(ratio).__name__ != "IntTrueDiv":
            raise UntranslatableError(f"{kind} of {ratio} is not known")
        above, below = (self._print(part) for part in ratio.args)
        return f"(-((-({above})) // ({below})))" if kind == "CeilToInt" else f"(({above}) // ({below}))"


_FORMS = {
    "FloorDiv": "(({}) // ({}))",
    "CleanDiv": "(({}) // ({}))",
    "Mod": "(({}) % ({}))",
    "PythonMod": "(({}) % ({}))",
    "ModularIndexing": "((({}) // ({})) % ({}))",
    "PowByNatural": "(({}) ** ({}))",
    "Where": "(({1}) if ({0}) else ({2}))",
    "Max": "max({}, {})",
    "Min": "min({}, {})",
}


def text_of(expression: object, names: Mapping[str, str]) -> str:
    """Print a sympy expression, its symbols renamed by `names`. Raises UntranslatableError."""
    return plain(_PythonText(names).doprint(expression))


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


def as_sizes(values: Mapping[str, object]) -> dict[str, int]:
    """The same mapping with plain integers."""
    return {name: int(cast(Any, number)) for name, number in values.items()}


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
