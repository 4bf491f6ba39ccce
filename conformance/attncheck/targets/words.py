"""The words between which a target's constructor chooses, and which values of the reference's options they are."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from attnref._mechanism import Option

# What else a value is called.
_ALSO: Mapping[str, tuple[str, ...]] = {
    "embedded_gaussian": ("softmax", "embedded", "gaussian", "attention"),
    "dot_product": ("dot", "product", "linear"),
    "silu": ("swish",),
    "max_minus_product": ("max_minus", "subtract_max", "max_minus_energy"),
}

# Options whose words mean one thing to everybody; what others call basic or pooled may be something else.
PLAIN = ("pairwise", "activation", "energy")


def words_read(target: Callable[..., Any]) -> dict[str, list[str]]:
    """The words that a constructor compares a required argument with, as expressions."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return {}
    found = {p.name: [repr(w) for w in _words(target, p)] for p in parameters if p.default is p.empty}
    return {name: words for name, words in found.items() if words}


def spoken(target: Callable[..., Any], parameter: inspect.Parameter, option: Option) -> str | None:
    """The expression that says an option in the words of a target's argument; None if they are about something else."""
    if not isinstance(parameter.default, str) or not all(isinstance(v, str) for v in option.values):
        return None
    words = list(dict.fromkeys([parameter.default, *_words(target, parameter)]))
    said = {str(value): _word_for(str(value), words) for value in option.values}
    if None in said.values() or len({*said.values()}) < len(said) or parameter.default not in said.values():
        return None
    return option.name if all(v == w for v, w in said.items()) else f"{said}[{option.name}]"


def _word_for(value: str, words: list[str]) -> str | None:
    """The word that means a value: the same one, else one of its other names, with whatever signs between."""
    for meant in ((value,), _ALSO.get(value, ())):
        found = next(
            (word for word in words if word.lower().replace("-", "_").replace(" ", "_") in meant), None
        )
        if found is not None:
            return found
    return None


def _words(target: Callable[..., Any], parameter: inspect.Parameter) -> list[str]:
    """The words that an argument may be, as its annotation or the target's code says."""
    told = parameter.annotation
    literal = [w for w in get_args(told) if isinstance(w, str)] if get_origin(told) is Literal else []
    read = (
        word
        for code in _code(target)
        for node in ast.walk(code)
        for word in _compared(node, parameter.name, target)
    )
    return list(dict.fromkeys([*literal, *read]))


def _compared(node: ast.AST, argument: str, target: Callable[..., Any]) -> Iterator[str]:
    """The words with which this piece of code compares an argument or what it was kept as."""
    match node:
        case ast.Compare(asked, _, others) if _is(asked, argument):
            for other in others:
                yield from _constants(
                    other.elts if isinstance(other, ast.List | ast.Tuple | ast.Set) else [other]
                )
        case ast.Subscript(ast.Dict(keys), asked) if _is(asked, argument):
            yield from _constants(keys)
        case ast.Subscript(ast.Name(name), asked) if _is(asked, argument):
            table = getattr(target, "__init__", target).__globals__.get(name)
            yield from (key for key in table if isinstance(key, str)) if isinstance(table, dict) else ()
        case ast.Match(asked, cases) if _is(asked, argument):
            patterns = [c.pattern.value for c in cases if isinstance(c.pattern, ast.MatchValue)]
            yield from _constants(patterns)


def _is(asked: ast.expr, argument: str) -> bool:
    """Whether an expression is an argument, or an attribute of its name."""
    name = asked.id if isinstance(asked, ast.Name) else asked.attr if isinstance(asked, ast.Attribute) else ""
    return name.lstrip("_") == argument


def _constants(nodes: list[Any]) -> Iterator[str]:
    yield from (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


def _code(target: Callable[..., Any]) -> Iterator[ast.AST]:
    """The code of a function, or of a class and those above it up to torch's, where it can be read."""
    lineage = target.__mro__ if isinstance(target, type) else (target,)
    for each in lineage:
        if getattr(each, "__module__", "").partition(".")[0] not in ("torch", "builtins"):
            with suppress(OSError, TypeError, ValueError, SyntaxError):
                yield ast.parse(textwrap.dedent(inspect.getsource(each)))
