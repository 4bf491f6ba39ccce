"""What a target's own source says of its constructor's arguments: words it knows, and a configuration's defaults."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, get_args

# Fields of these kinds can be written down and read back.
_PLAIN = (bool, int, float, str, type(None))


def words_read(target: Callable[..., Any]) -> dict[str, list[str]]:
    """The words that a constructor compares a required argument with, as expressions."""
    try:
        source = textwrap.dedent(inspect.getsource(target.__init__))
        required = {p.name for p in inspect.signature(target).parameters.values() if p.default is p.empty}
        tree = ast.parse(source)
    except (OSError, TypeError, ValueError, SyntaxError):
        return {}
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id in required:
            words = [repr(word) for other in node.comparators for word in _words(other)]
            known = found.setdefault(node.left.id, [])
            known += [word for word in words if word not in known]
    return {name: words for name, words in found.items() if words}


def _words(node: ast.expr) -> Iterator[str]:
    for part in node.elts if isinstance(node, (ast.List, ast.Tuple, ast.Set)) else [node]:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def fields_read(target: Callable[..., Any], argument: str) -> set[str]:
    """The fields of a configuration that a constructor reads."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(target.__init__)))
    except (OSError, TypeError, ValueError, SyntaxError):
        return set()
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == argument
    }


def defaults_said(target: Callable[..., Any], parameter: inspect.Parameter) -> dict[str, str]:
    """The fields of the configuration that a target is made for, as expressions of their defaults."""
    for kind in _configurations(target, parameter):
        try:
            fields = vars(kind())
        except Exception:
            # It has no defaults, or is no configuration.
            continue
        return {n: repr(v) for n, v in fields.items() if isinstance(v, _PLAIN) and n.isidentifier()}
    return {}


def _configurations(target: Callable[..., Any], parameter: inspect.Parameter) -> list[type]:
    """Classes that the argument may be: what is annotated, or what the module calls a configuration."""
    known = getattr(getattr(target, "__init__", None), "__globals__", {})
    told = parameter.annotation
    if isinstance(told, str):
        told = known.get(told)
    told = next((kind for kind in get_args(told) if kind is not type(None)), told)
    if isinstance(told, type) and told not in (parameter.empty, Any):
        return [told]
    named = [
        kind for name, kind in known.items() if isinstance(kind, type) and name.endswith(("Config", "Args"))
    ]
    # Of several, the one that begins as the target does.
    return sorted(named, key=lambda kind: -_shared(kind.__name__, target.__name__))


def _shared(one: str, two: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
