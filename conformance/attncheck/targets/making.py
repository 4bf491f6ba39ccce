"""Functions that make modules: what they return, told without calling them where they say it."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


def makes(target: Any) -> type[nn.Module] | None:
    """The class of the modules that a function makes; None if it makes none, or cannot be read."""
    if not inspect.isfunction(target):
        return None
    told = target.__annotations__.get("return")
    for kind in (told, *_returned(target)):
        known = target.__globals__.get(kind) if isinstance(kind, str) else kind
        # What is any module does not say how it is called.
        if isinstance(known, type) and issubclass(known, nn.Module) and known is not nn.Module:
            return known
    return None


def is_constructor(target: Any) -> bool:
    """Whether calling it gives what is judged: a class, or a function that makes modules."""
    return isinstance(target, type) or makes(target) is not None


def _returned(function: Callable[..., Any]) -> Iterator[str]:
    """The names that a function calls for what it returns, at once or by a name given before."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    kept: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Name(called))):
                kept[name] = called
    for node in ast.walk(tree):
        match node:
            case ast.Return(ast.Call(ast.Name(called))):
                yield called
            case ast.Return(ast.Name(name)) if name in kept:
                yield kept[name]
