"""Tensors that know the expression they came from: how a script learns what a check compares."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/"}
_REVERSED = {"__rsub__": "-", "rsub": "-", "__rmul__": "*", "__radd__": "+"}
# A constant that a person can still read in a script.
_MOST_LITERAL = 24


class Traced(Tensor):
    """A tensor with its `source`; what is computed from it has one too."""

    source: str
    known: Mapping[str, Tensor]

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        if not isinstance(result, Tensor):
            return result
        known = next(a.known for a in _flat(args) if isinstance(a, Traced))
        return traced(result, _expression(func.__name__, args, kwargs or {}, known), known)


def traced(tensor: Tensor, source: str, known: Mapping[str, Tensor]) -> Traced:
    """The tensor with a source. `known` are constants that have names in the script."""
    result = tensor.detach().as_subclass(Traced)
    result.source, result.known = source, known
    return result


def source_of(tensor: Tensor, known: Mapping[str, Tensor]) -> str | None:
    """The expression of a tensor: its own, the name of an equal constant, or its few values."""
    if isinstance(tensor, Traced):
        return tensor.source
    for name, constant in known.items():
        if (
            constant.shape == tensor.shape
            and constant.dtype == tensor.dtype
            and torch.equal(constant, tensor)
        ):
            return name
    return literal(tensor) if tensor.numel() <= _MOST_LITERAL else None


def literal(tensor: Tensor) -> str:
    """The values of a tensor, written out."""
    dtype = "" if tensor.dtype in (torch.int64, torch.bool) else f", dtype={tensor.dtype}"
    return f"torch.tensor({tensor.tolist()}{dtype})"


def _flat(args: Any) -> list[Any]:
    return [b for a in args for b in (_flat(a) if isinstance(a, (tuple, list)) else [a])]


def _expression(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], known: Mapping[str, Tensor]
) -> str:
    texts = [_argument(a, known) for a in args]
    if name in _OPERATORS and len(texts) == 2:
        return f"({texts[0]} {_OPERATORS[name]} {texts[1]})"
    if name in _REVERSED and len(texts) == 2:
        return f"({texts[1]} {_REVERSED[name]} {texts[0]})"
    if name == "__getitem__":
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return f"{texts[0]}[{', '.join(_index(i, known) for i in index)}]"
    more = [*texts[1:], *(f"{k}={_argument(v, known)}" for k, v in kwargs.items())]
    return f"{texts[0]}.{name}({', '.join(more)})"


def _argument(value: Any, known: Mapping[str, Tensor]) -> str:
    if isinstance(value, Tensor):
        return source_of(value, known) or "unknown"
    if isinstance(value, (tuple, list)):
        return "(" + "".join(f"{_argument(v, known)}, " for v in value) + ")"
    return repr(value)


def _index(value: Any, known: Mapping[str, Tensor]) -> str:
    if isinstance(value, slice):
        ends = ["" if end is None else str(end) for end in (value.start, value.stop)]
        return ":".join(ends) + ("" if value.step is None else f":{value.step}")
    return "..." if value is Ellipsis else _argument(value, known)
