"""The one reader of jaxtyping annotations: which axes each tensor of a function has."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType

import torch

_KINDS = {"Float": "float", "Bool": "bool", "Int": "int", "Integer": "int"}


@cache
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<annotation>", "eval")


@dataclass(frozen=True)
class Dim:
    """One dimension of an annotation: an axis, a number or an expression over axes."""

    text: str
    broadcasts: bool = False
    variadic: bool = False

    @cached_property
    def axis(self) -> str | None:
        """The axis name, if the dimension is nothing but an axis."""
        name = re.sub(r"^\{self\.(\w+)\}$", r"\1", self.text)
        return name if name.isidentifier() else None

    @cached_property
    def expression(self) -> str:
        """The dimension as a Python expression over axis and option names."""
        return re.sub(r"\{(?:self\.)?([^}]+)\}", r"(\1)" if not self.axis else r"\1", self.text)

    def size(self, sizes: Mapping[str, object]) -> int:
        """The extent under `sizes`. Raises NameError if an axis has no size there."""
        return int(eval(_compiled(self.expression), {"__builtins__": {"max": max, "min": min}}, dict(sizes)))


@dataclass(frozen=True)
class TensorShape:
    """One tensor of a signature: its name, kind of dtype, and dimensions.

    `ranks` holds one tuple of dimensions per admitted rank, the longest first.
    """

    name: str
    kind: str
    ranks: tuple[tuple[Dim, ...], ...]
    optional: bool = False

    @property
    def dims(self) -> tuple[Dim, ...]:
        return self.ranks[0]

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the longest form, in order; expressions keep their text."""
        return tuple(dim.axis or dim.expression for dim in self.dims)


@dataclass(frozen=True)
class Signature:
    """The tensors that go in and come out of a callable, and its other parameters."""

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    others: tuple[inspect.Parameter, ...]

    def __getitem__(self, name: str) -> TensorShape:
        for tensor in (*self.inputs, *self.outputs):
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    @property
    def axes(self) -> tuple[str, ...]:
        """Every axis of the inputs, in order of appearance."""
        seen = [dim.axis for t in self.inputs for dims in t.ranks for dim in dims if dim.axis]
        return tuple(dict.fromkeys(seen))


def read(function: Callable[..., object], output_names: tuple[str, ...] = ("out",)) -> Signature:
    """Read the annotations of `function`, whose results are called `output_names`."""
    function = inspect.unwrap(function)
    hints = typing.get_type_hints(function)
    inputs: list[TensorShape] = []
    others: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        tensor = _tensor(parameter.name, hints.get(parameter.name))
        if tensor is not None:
            inputs.append(tensor)
        elif parameter.name != "self":
            others.append(parameter)
    return Signature(tuple(inputs), _outputs(hints.get("return"), output_names), tuple(others))


def _tensor(name: str, hint: object) -> TensorShape | None:
    members = _members(hint)
    forms = [m for m in members if _is_shaped(m)]
    if not forms:
        return None
    ranks = sorted((_dims(str(m.dim_str)) for m in forms), key=len, reverse=True)
    kind = _KINDS.get(str(forms[0].__name__).split("[")[0], "float")
    return TensorShape(name, kind, tuple(ranks), optional=type(None) in members)


def _outputs(hint: object, names: tuple[str, ...]) -> tuple[TensorShape, ...]:
    # A union of a tensor and a tuple means: more comes back if asked. The tuple says all.
    for member in _members(hint):
        if typing.get_origin(member) is tuple:
            found = [_tensor(n, h) for n, h in zip(names, typing.get_args(member), strict=False)]
            return tuple(t for t in found if t is not None)
    single = _tensor(names[0], hint)
    return () if single is None else (single,)


def _members(hint: object) -> tuple[typing.Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _is_shaped(hint: object) -> bool:
    return hasattr(hint, "dim_str") and getattr(hint, "array_type", None) is torch.Tensor


def _dims(text: str) -> tuple[Dim, ...]:
    return tuple(
        Dim(token.lstrip("#*"), broadcasts="#" in token, variadic="*" in token[:2] and token[0] in "#*")
        for token in text.split()
    )
