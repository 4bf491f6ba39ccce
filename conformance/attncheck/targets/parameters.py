"""The parameters of a callable, wherever they are written down, and what their defaults and annotations say."""

import ast
import inspect
import re
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


def is_count(parameter: inspect.Parameter) -> bool:
    """Whether an argument's default is a whole number."""
    return isinstance(parameter.default, int) and not isinstance(parameter.default, bool)


def is_pair(parameter: inspect.Parameter) -> bool:
    """Whether an argument's default is two whole numbers."""
    default = parameter.default
    return isinstance(default, (tuple, list)) and [type(n) for n in default] == [int, int]


def is_series(parameter: inspect.Parameter) -> bool:
    """Whether an argument is several numbers: by its default, its annotation, or a name in the plural without either."""
    default, annotation = parameter.default, parameter.annotation
    if default is not parameter.empty:
        return isinstance(default, (tuple, list))
    if annotation is not parameter.empty:
        return re.search("list|tuple|sequence|iterable", str(annotation), re.I) is not None
    return not parameter.name.startswith("num") and parameter.name.endswith("s")


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
