"""Sizes of torch's symbolic shapes, which are sympy's expressions, as text; importing sympy takes half a second."""

# sympy finds a printer's methods by the names of its classes.
# ruff: noqa: N802, N815

from collections.abc import Mapping
from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from attncheck.shapes.expressions import negation, plain


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
