"""The shapes of a mechanism as a table: symbolic, or with numbers where sizes are given."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean
from attnref import Mechanism
from attnref._signature import Dim, TensorShape, read
from attnref.axes import BY_NAME

Role = Literal["input", "parameter", "output"]

# Any width that heads, groups and reductions divide serves to learn the names of parameters.
_SOME_SIZE = 64
# What a dimension is called that no annotation names and that only an instance shows.
UNKNOWN = "…"


@dataclass(frozen=True)
class Row:
    """One tensor: its forms, the longest rank first, each with what each dimension is called or measures."""

    role: Role
    name: str
    kind: str
    forms: tuple[tuple[str, ...], ...]
    optional: bool = False
    broadcasts: bool = False

    @property
    def shape(self) -> str:
        """The forms as text."""
        return " or ".join(f"({', '.join(form)}{',' if len(form) == 1 else ''})" for form in self.forms)


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor: its default, and the conditions of the contract on it."""

    name: str
    default: str
    meaning: str
    conditions: tuple[str, ...] = ()


def table(mechanism: Mechanism, given: Mapping[str, Scalar] | None = None) -> tuple[Row, ...]:
    """Inputs, parameters and outputs. What has no size and no default stays symbolic.

    Raises UsageError if a name is unknown, or the mechanism is not defined for the sizes.
    """
    names = resolve(mechanism, given or {})
    built = _instance(mechanism, given or {})
    function = mechanism.module.forward if mechanism.module else mechanism.call
    signature = read(function, mechanism.outputs)
    return (
        *(_row("input", tensor, names) for tensor in signature.inputs),
        *_parameters(mechanism, built, names),
        *(_row("output", tensor, names) for tensor in signature.outputs),
    )


def nameable(mechanism: Mechanism) -> tuple[str, ...]:
    """The axes and options that `resolve` knows of a mechanism."""
    function = mechanism.module.forward if mechanism.module else mechanism.call
    signature = read(function, mechanism.outputs)
    others = (p.name for p in signature.others)
    return tuple(dict.fromkeys((*signature.axes, *_constructor(mechanism), *others)))


def resolve(mechanism: Mechanism, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The given sizes and options with those that follow from them. Raises UsageError as `table` does."""
    known = nameable(mechanism)
    for name, value in given.items():
        if name not in known:
            raise UsageError(
                f"{mechanism.id} has no axis or option {name!r}{did_you_mean(name, known)} "
                f"({mechanism.id} has {', '.join(known)})"
            )
        if name in BY_NAME and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise UsageError(f"expected a size for {name}, a whole number from 0 on, got {value!r}")
    if not given:
        return {}
    names = {**_defaults(mechanism), **given}
    _derive(mechanism.contract.defaults, names)
    _require_legal(mechanism, names)
    return names


def arguments(mechanism: Mechanism) -> tuple[Argument, ...]:
    """The arguments of a mechanism's constructor; none if it has no module."""
    contract = mechanism.contract
    meanings = {axis.name: axis.meaning for axis in BY_NAME.values()}
    meanings |= {option.name: option.meaning for option in contract.options}
    made = []
    for name, parameter in _constructor(mechanism).items():
        default = "required" if parameter.default is parameter.empty else str(parameter.default)
        conditions = tuple(rule.holds for rule in contract.rules if name in _words(rule.holds))
        made.append(Argument(name, contract.defaults.get(name, default), meanings.get(name, ""), conditions))
    return tuple(made)


def _constructor(mechanism: Mechanism) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(mechanism.module).parameters if mechanism.module else {}


def _defaults(mechanism: Mechanism) -> dict[str, Scalar]:
    defaults = {name: p.default for name, p in _constructor(mechanism).items()}
    return {n: v for n, v in defaults.items() if isinstance(v, (bool, int, float, str))}


def _derive(defaults: Mapping[str, str], names: dict[str, Scalar]) -> None:
    """Add what follows from other names, for as long as something new does."""
    waiting = {name: text for name, text in defaults.items() if name not in names}
    while ready := [name for name, text in waiting.items() if _words(text) <= names.keys()]:
        for name in ready:
            names[name] = _value(waiting.pop(name), names)


def _require_legal(mechanism: Mechanism, names: Mapping[str, Scalar]) -> None:
    constructor = _constructor(mechanism)
    for rule in mechanism.contract.rules:
        words = _words(rule.holds)
        # What the constructor checks itself it words itself, and with its own exceptions to the rule.
        if words <= names.keys() and not words <= constructor.keys() and not _value(rule.holds, names):
            sizes = ", ".join(f"{n}={names[n]}" for n in sorted(words))
            raise UsageError(f"{mechanism.id}: expected {rule.holds}, got {sizes}: {rule.because}")


def _instance(mechanism: Mechanism, given: Mapping[str, Scalar]) -> nn.Module | None:
    """A module without memory for the given sizes; None if it has none, or needs more sizes."""
    constructor = _constructor(mechanism)
    if mechanism.module is None or not _required(mechanism) <= given.keys():
        return None
    try:
        with torch.device("meta"):
            return mechanism.module(**{name: value for name, value in given.items() if name in constructor})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _required(mechanism: Mechanism) -> set[str]:
    return {n for n, p in _constructor(mechanism).items() if p.default is p.empty}


def _parameters(
    mechanism: Mechanism, built: nn.Module | None, names: Mapping[str, Scalar]
) -> tuple[Row, ...]:
    """With numbers from an instance; without, from the annotations of the function that takes them."""
    if built is not None and names:
        tensors = built.named_parameters()
        return tuple(Row("parameter", n, "float", (tuple(map(str, t.shape)),)) for n, t in tensors)
    some = _instance(mechanism, dict.fromkeys(_required(mechanism), _SOME_SIZE))
    annotated = {tensor.name: tensor for tensor in read(mechanism.call, mechanism.outputs).inputs}
    named = dict(some.named_parameters()) if some is not None else {}
    return tuple(
        Row("parameter", name, "float", (_spelled(annotated.get(name.replace(".", "_")), tensor, names),))
        for name, tensor in named.items()
    )


def _spelled(
    annotated: TensorShape | None, parameter: Tensor, names: Mapping[str, Scalar]
) -> tuple[str, ...]:
    """The annotated dimensions; behind them the ones of a 1×1 convolution, which annotations leave out."""
    dims = annotated.dims if annotated is not None else ()
    ones = parameter.shape[len(dims) :]
    if annotated is None or len(dims) > parameter.dim() or any(size != 1 for size in ones):
        return (UNKNOWN,) * parameter.dim()
    return (*(_extent(dim, names) for dim in dims), *("1" for _ in ones))


def _row(role: Role, tensor: TensorShape, names: Mapping[str, Scalar]) -> Row:
    forms = tuple(tuple(_extent(dim, names) for dim in dims) for dims in tensor.ranks)
    broadcasts = any(dim.broadcasts for dim in tensor.dims)
    return Row(role, tensor.name, tensor.kind, tuple(dict.fromkeys(forms)), tensor.optional, broadcasts)


def _extent(dim: Dim, names: Mapping[str, Scalar]) -> str:
    if dim.variadic:
        return dim.text + UNKNOWN
    if names and _words(dim.expression) <= names.keys():
        return str(dim.size(names))
    return ast.unparse(ast.parse(dim.expression, mode="eval"))


def _words(expression: str) -> set[str]:
    nodes = ast.walk(ast.parse(expression, mode="eval"))
    return {node.id for node in nodes if isinstance(node, ast.Name)} - {"max", "min"}


def _value(expression: str, names: Mapping[str, Scalar]) -> Scalar:
    # The expressions are the contract's own, never a user's.
    known = {"__builtins__": {"max": max, "min": min}}
    value: Scalar = eval(expression, known, dict(names))
    return value


def axes_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The axes of the glossary that the rows speak of, in order of appearance."""
    dims = [dim for row in rows for form in row.forms for dim in form if not dim.endswith(UNKNOWN)]
    seen = [word for dim in dims for word in _ordered_words(dim) if word in BY_NAME]
    return tuple(dict.fromkeys(seen))


def _ordered_words(expression: str) -> list[str]:
    nodes = ast.walk(ast.parse(expression, mode="eval"))
    return [node.id for node in nodes if isinstance(node, ast.Name)]
