"""What stands in the source of a target: what a function makes, and for how many axes."""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn


def makes(target: Any) -> type[nn.Module] | None:
    """The class of the modules that a function makes; None if it makes none, or cannot be read."""
    if not inspect.isfunction(target):
        return None
    told = target.__annotations__.get("return")
    for kind in (told, *_returned(target)):
        known = _known(kind, target.__globals__) if isinstance(kind, str) else kind
        # What is any module does not say how it is called.
        if isinstance(known, type) and issubclass(known, nn.Module) and known is not nn.Module:
            return known
    return None


def _known(name: str, globals_: Mapping[str, Any]) -> Any:
    """What a function means by a name such as `nn.Sequential`; None if it is none."""
    first, *rest = name.split(".")
    return functools.reduce(lambda known, part: getattr(known, part, None), rest, globals_.get(first))


def is_constructor(target: Any) -> bool:
    """Whether calling it gives what is judged: a class, or a function that makes modules."""
    return isinstance(target, type) or makes(target) is not None


def _returned(function: Callable[..., Any]) -> Iterator[str]:
    """What a function calls for what it returns, at once or by a name given before, as it is written."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    kept: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(called)):
                kept[name] = ast.unparse(called)
    for node in ast.walk(tree):
        match node:
            case ast.Return(ast.Call(called)):
                yield ast.unparse(called)
            case ast.Return(ast.Name(name)) if name in kept:
                yield kept[name]


def code_of(target: Any) -> str:
    """The source of a target, or of what it makes; nothing where it cannot be read."""
    while isinstance(target, functools.partial):
        target = target.func
    readable = makes(target) or target
    if not (inspect.isclass(readable) or inspect.isroutine(readable)):
        readable = type(readable)
    try:
        return inspect.getsource(inspect.unwrap(readable))
    except (OSError, TypeError):
        return ""


def rank_told(target: Any) -> int | None:
    """How many axes a map has besides samples and channels, where the code has layers or functions for one number alone."""
    ranks = set(re.findall(r"[a-zA-Z_]([123])[dD]\b", code_of(target)))
    return int(ranks.pop()) if len(ranks) == 1 else None
