"""`@checked`: annotations are enforced at every call, and a wrong call is explained in axes and sizes."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError, jaxtyped

from attnref._signature import Dim, TensorShape, read

P = ParamSpec("P")
R = TypeVar("R")


class ShapeError(TypeError, ValueError):
    """A tensor does not have the rank, sizes or kind of dtype that the annotation asks for."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Enforce the jaxtyping annotations of `function`, except while torch compiles or exports it.

    Raises ShapeError at the call: the message names the tensor, the axis and both sizes.
    """
    # Tracing jaxtyped code raises errors that are not there (jaxtyping #196, pytorch #122093).
    typed = jaxtyped(typechecker=beartype)(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            return typed(*args, **kwargs)
        except (TypeCheckError, BeartypeCallHintViolation) as error:
            reason = explain(function, args, kwargs)
            if reason is None:
                raise
            raise ShapeError(reason) from error

    return call


def explain(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> str | None:
    """Say which tensor of a call breaks which annotation, or None if every input fits."""
    arguments = inspect.signature(function).bind(*args, **kwargs)
    arguments.apply_defaults()
    owner = arguments.arguments.get("self")
    name = type(owner).__name__ if owner is not None else function.__name__
    scope: dict[str, Any] = dict(arguments.arguments)
    if owner is not None:
        scope.update({k: v for k, v in vars(owner).items() if isinstance(v, int)})
    bound: dict[str, tuple[int, str]] = {}
    for tensor in read(function).inputs:
        problem = _problem(tensor, arguments.arguments[tensor.name], scope, bound)
        if problem:
            return f"{name}: {problem}"
    return None


def _problem(
    tensor: TensorShape, value: object, scope: Mapping[str, Any], bound: dict[str, tuple[int, str]]
) -> str | None:
    wanted = " or ".join(f"({', '.join(d.text for d in dims)})" for dims in tensor.ranks)
    if value is None:
        return None if tensor.optional else f"{tensor.name} is missing, expected {wanted}"
    if not isinstance(value, torch.Tensor):
        return f"{tensor.name} must be a tensor {wanted}, got {type(value).__name__}"
    if _kind(value) != tensor.kind:
        return f"{tensor.name} must hold {tensor.kind} values, got {value.dtype}"
    dims = next((d for d in tensor.ranks if len(d) == value.dim()), None)
    if any(d.variadic for d in tensor.dims):
        return None
    if dims is None:
        return f"{tensor.name} must be {wanted}, got rank {value.dim()}: {tuple(value.shape)}"
    for dim, size in zip(dims, value.shape, strict=True):
        expected, source = _expected(dim, scope, bound)
        if expected is None and dim.axis and not (dim.broadcasts and size == 1):
            bound[dim.axis] = (size, tensor.name)
        elif expected is not None and size != expected and not (dim.broadcasts and size == 1):
            return f"{tensor.name} has {dim.text.strip('{}').removeprefix('self.')}={size}, but {source} {expected}"
    return None


def _expected(
    dim: Dim, scope: Mapping[str, Any], bound: Mapping[str, tuple[int, str]]
) -> tuple[int | None, str]:
    if dim.axis and dim.axis in bound:
        size, owner = bound[dim.axis]
        return size, f"{owner} has"
    try:
        return dim.size({**scope, **{k: v[0] for k, v in bound.items()}}), f"{dim.expression} is"
    except (NameError, TypeError):
        return None, ""


def _kind(value: torch.Tensor) -> str:
    if value.dtype == torch.bool:
        return "bool"
    return "float" if value.is_floating_point() else "int"
