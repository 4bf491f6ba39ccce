"""Questions about sizes, answered by z3: a point where conditions hold, or that there is none."""

import ast
import enum
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attncheck.shapes.expressions import both, holds, names_in, negation

MISSING = "z3 is not installed: pip install 'attncheck[proof]'"


class Answer(enum.Enum):
    """What a solver says if it names no point."""

    NONE = "there is no such point"
    UNKNOWN = "the solver could not decide"


Point = dict[str, int]
_EQUAL = re.compile(r"(\w+) == (\d+)")


class Solver:
    """z3 over the sizes of some axes, within a domain of legal sizes.

    Raises ModuleNotFoundError, with what to install, if z3 is absent.
    """

    def __init__(
        self,
        axes: Sequence[str],
        domain: Iterable[str],
        fixed: Mapping[str, int] | None = None,
        *,
        milliseconds: int = 2000,
    ) -> None:
        try:
            import z3
        except ModuleNotFoundError:
            raise ModuleNotFoundError(MISSING) from None
        self._z3 = z3
        self.fixed = dict(fixed or {})
        self._symbols = {axis: z3.Int(axis) for axis in axes}
        self._symbols.update({axis: z3.IntVal(size) for axis, size in self.fixed.items()})
        self._milliseconds = milliseconds
        self.axes = tuple(axes)
        self.conditions = tuple(domain)
        self.domain = both(self.conditions)
        self._compared: dict[str, Any] = {}
        self._translated = functools.lru_cache(maxsize=None)(self._translate_text)

    def find(self, *conditions: str, milliseconds: int | None = None) -> Point | Answer:
        """A point of the domain where all conditions hold."""
        patience = milliseconds or self._milliseconds
        solver = self._z3.SimpleSolver()
        solver.set("timeout", 10 * patience)
        # A step limit too: the time limit alone makes answers depend on the machine's load.
        solver.set("rlimit", 20_000 * patience)
        settled = [self._settled(condition) for condition in conditions]
        for condition in (self.domain, *conditions):
            # A product with a number that is known is linear, and z3 does not always see that it is known.
            solver.add(self._z3.substitute(self._translated(condition), *filter(None, settled)))
        for pair in filter(None, settled):
            solver.add(pair[0] == pair[1])
        result = solver.check()
        if result == self._z3.unsat:
            return Answer.NONE
        if result == self._z3.unknown:
            return Answer.UNKNOWN
        model = solver.model()
        point = {axis: model.eval(self._symbols[axis], model_completion=True).as_long() for axis in self.axes}
        # The translation is trusted as far as this: every model is checked against Python.
        right = all(self.holds(condition, point) for condition in (self.domain, *conditions))
        return point if right else Answer.UNKNOWN

    def _settled(self, condition: str) -> tuple[Any, Any] | None:
        """An axis and its size, if a condition is that and nothing else."""
        told = _EQUAL.fullmatch(condition)
        if told is None or told[1] not in self.axes or told[1] in self.fixed:
            return None
        return self._symbols[told[1]], self._z3.IntVal(int(told[2]))

    def holds(self, condition: str, point: Mapping[str, int]) -> bool:
        """Whether a condition is true at a point, by Python's own arithmetic."""
        return holds(condition, {**self.fixed, **point})

    def smallest(self, *conditions: str) -> Point | Answer:
        """A point where all conditions hold with the smallest sum of sizes, as far as z3 can tell."""
        best = self.find(*conditions)
        if isinstance(best, Answer) or not self.axes:
            return best
        total, low = " + ".join(self.axes), len(self.axes) - 1
        # Doubling first: near the bottom the questions are easy, far above they may not end.
        bound = len(self.axes)
        while bound < sum(best.values()):
            found = self.find(*conditions, f"{total} <= {bound}")
            if not isinstance(found, Answer):
                best = found
                break
            low, bound = bound, bound * 2
        while low + 1 < sum(best.values()):
            middle = (low + sum(best.values())) // 2
            found = self.find(*conditions, f"{total} <= {middle}")
            if isinstance(found, Answer):
                low = middle
            else:
                best = found
        return best

    def can_ask(self, condition: str) -> bool:
        """Whether every part of a condition has a translation."""
        try:
            self._translated(condition)
        except ValueError:
            return False
        return True

    def implies(self, premise: str, conclusion: str, *, milliseconds: int | None = None) -> bool:
        """Whether the conclusion certainly follows in the domain."""
        return self.find(premise, negation(conclusion), milliseconds=milliseconds) is Answer.NONE

    def essential(self, conditions: Sequence[str]) -> tuple[str, ...]:
        """The conditions without those that follow from the rest, products of axes first to go.

        Paths carry many such: a product is at least 2 where a factor is. Without them most
        questions are linear, which is a thousand times easier.
        """
        kept = list(dict.fromkeys(conditions))
        for condition in sorted(kept, key=lambda text: (len(names_in(text)), len(text)), reverse=True):
            rest = [other for other in kept if other != condition]
            # A condition too many does no harm, so an answer is not worth waiting for.
            if self.implies(both(rest), condition, milliseconds=self._milliseconds // 10):
                kept = rest
        return tuple(kept)

    def equivalent(self, one: str, other: str) -> bool:
        """Whether two conditions certainly mean the same in the domain."""
        return self.implies(one, other) and self.implies(other, one)

    def _translate_text(self, text: str) -> Any:
        return self._translate(ast.parse(text.strip(), mode="eval").body)

    def _translate(self, node: ast.expr) -> Any:
        z3 = self._z3
        match node:
            case ast.Constant(value=bool(constant)):
                return z3.BoolVal(constant)
            case ast.Constant(value=int(constant)):
                return z3.IntVal(constant)
            case ast.Name(id=axis) if axis in self._symbols:
                return self._symbols[axis]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return z3.Not(self._translate(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._translate(operand)
            case ast.BoolOp(op=operator, values=values):
                join = z3.And if isinstance(operator, ast.And) else z3.Or
                return join(*map(self._translate, values))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return z3.If(*map(self._translate, (test, body, orelse)))
            case ast.Compare():
                # Conjunctions are made anew all the time, of the same few comparisons.
                text = ast.unparse(node)
                if text not in self._compared:
                    self._compared[text] = self._comparison(node)
                return self._compared[text]
            case ast.BinOp(left=left, op=operator, right=right):
                return self._arithmetic(self._translate(left), operator, self._translate(right))
            case ast.Call(func=ast.Name(id=("max" | "min") as name), args=arguments):
                values = [self._translate(argument) for argument in arguments]
                return functools.reduce(self._larger if name == "max" else self._smaller, values)
        raise ValueError(f"cannot ask z3 about `{ast.unparse(node)}` over the axes {', '.join(self.axes)}")

    def _larger(self, a: Any, b: Any) -> Any:
        return self._z3.If(a >= b, a, b)

    def _smaller(self, a: Any, b: Any) -> Any:
        return self._z3.If(a <= b, a, b)

    def _comparison(self, node: ast.Compare) -> Any:
        values = [self._translate(value) for value in (node.left, *node.comparators)]
        parts = [
            _COMPARISONS[type(operator)](a, b)
            for a, operator, b in zip(values, node.ops, values[1:], strict=False)
        ]
        return self._z3.And(*parts)

    def _arithmetic(self, left: Any, operator: ast.operator, right: Any) -> Any:
        z3 = self._z3
        match operator:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Pow() if z3.is_int_value(right) and 0 <= right.as_long() <= 8:
                return functools.reduce(lambda a, b: a * b, [left] * right.as_long(), z3.IntVal(1))
            case ast.Div():
                return z3.ToReal(left) / z3.ToReal(right)
            # z3 rounds as Python does only where the divisor is positive.
            case ast.FloorDiv():
                return z3.If(right > 0, left / right, (-left) / (-right))
            case ast.Mod():
                return z3.If(right > 0, left % right, -((-left) % (-right)))
        raise ValueError(f"cannot ask z3 about the operator {type(operator).__name__}")


_COMPARISONS: dict[type[ast.cmpop], Any] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
