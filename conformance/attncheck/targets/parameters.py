"""The parameters of a callable, wherever they are written down."""

import ast
import inspect
from collections.abc import Callable
from typing import Any

from torch.jit import ScriptFunction


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a callable, from its schema or its docstring's first line if it has no signature."""
    if isinstance(function, ScriptFunction):
        return _of_schema(function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = _documented(inspect.getdoc(function) or "").parameters.values()
    return [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _of_schema(function: Any) -> list[inspect.Parameter]:
    """What a function that torch.jit compiled takes."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [
        inspect.Parameter(
            a.name, kind, default=a.default_value if a.has_default_value() else inspect.Parameter.empty
        )
        for a in function.schema.arguments
    ]


def _documented(text: str) -> inspect.Signature:
    """The signature that a builtin's docstring begins with."""
    head = text.strip().split(" -> ")[0].replace("\n", " ")
    try:
        function = ast.parse(f"def {head}: ...").body[0]
    except SyntaxError:
        return inspect.Signature()
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    names = [a.arg for a in arguments.args]
    missing = len(names) - len(arguments.defaults)
    made = [
        inspect.Parameter(
            n,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if i < missing else None,
        )
        for i, n in enumerate(names)
    ]
    made += [
        inspect.Parameter(a.arg, inspect.Parameter.KEYWORD_ONLY, default=None) for a in arguments.kwonlyargs
    ]
    return inspect.Signature(made)
