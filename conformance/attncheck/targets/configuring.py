"""What a target's own source says of its constructor's arguments, and of a configuration's defaults."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_args

import torch

from attncheck.targets.found import DICTIONARY, NAMESPACE, Configuration

# Fields of these kinds can be written down and read back.
_PLAIN = (bool, int, float, str, type(None))


def hands_on(target: Callable[..., Any], argument: str) -> bool:
    """Whether a constructor gives an argument to anything that it calls, so that more than its value is kept."""
    return any(
        isinstance(node, ast.Call)
        and any(
            isinstance(part, ast.Name) and part.id == argument
            for given in node.args
            for part in ast.walk(given)
        )
        for node in ast.walk(_constructor(target))
    )


def offered(target: Callable[..., Any], config: str = "") -> list[inspect.Parameter] | None:
    """What a constructor takes, its own arguments or a configuration's; None if nothing tells.

    Among them are entries of `**options` that it reads, and what another class takes of those handed on.
    """
    try:
        own = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    if config:
        return fields_said(target, own[config]) or entries_read(target, own[config])
    named = [p for p in own.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for options in (p for p in own.values() if p.kind is p.VAR_KEYWORD):
        named += entries_read(target, options)
        named += [p for p in _handed_up(target, options.name) if p.name not in own]
    return named


def _handed_up(target: Callable[..., Any], options: str) -> list[inspect.Parameter]:
    """What takes the `**options` that a constructor hands on: the class above, or one that keeps settings."""
    for node in ast.walk(_constructor(target)):
        match node:
            case ast.Call(called, said, named) if any(
                k.arg is None and ast.unparse(k.value) == options for k in named
            ):
                taker = _taking(target, called)
                taken = (offered(taker) if taker else None) or []
                return [p for p in taken[len(said) :] if p.name not in {k.arg for k in named}]
    return []


def _taking(target: Callable[..., Any], called: ast.expr) -> type | None:
    """The class whose constructor a call in another constructor goes to, where names tell."""
    match called:
        case ast.Attribute(ast.Call(ast.Name("super")), "__init__"):
            return _above(target)
        case ast.Name(name):
            known = _names_around(target).get(name)
            return known if isinstance(known, type) and known is not target else None
    return None


def unpacked(target: Callable[..., Any]) -> dict[str, list[str]]:
    """Arguments of a constructor that it takes apart, each with what it calls the parts."""
    found = {}
    for node in ast.walk(_constructor(target)):
        match node:
            case ast.Assign([ast.Tuple(parts)], ast.Name(name)):
                found[name] = [ast.unparse(part) for part in parts]
    return found


def _above(target: Callable[..., Any]) -> type | None:
    """The next class whose constructor is another one."""
    lineage = target.__mro__ if isinstance(target, type) else ()
    others = (kind for kind in lineage if kind.__init__ is not target.__init__)  # type: ignore[misc]  # compared
    return next(others, None)


def entries_read(target: Callable[..., Any], parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The entries of a dictionary that a constructor or a function reads, as arguments of their names and defaults."""
    known = _names_around(target)
    names, found = {parameter.name}, dict(_plain(parameter.default))
    for node in sorted(ast.walk(_constructor(target)), key=lambda n: getattr(n, "lineno", 0)):
        match node:
            case ast.Assign([kept], value) if not isinstance(value, ast.Subscript) and _hands(value, names):
                names.add(ast.unparse(kept))
                merged = [known.get(part.id) for part in ast.walk(value) if isinstance(part, ast.Name)]
                found |= {
                    key: default for each in merged for key, default in _plain(each) if key not in found
                }
            case ast.Subscript(whole, ast.Constant(str(key))) if ast.unparse(whole) in names:
                found.setdefault(key, inspect.Parameter.empty)
            case ast.Call(ast.Attribute(whole, "get" | "pop"), [ast.Constant(str(key)), *rest]):
                if ast.unparse(whole) in names:
                    default = rest[0].value if rest and isinstance(rest[0], ast.Constant) else None
                    found.setdefault(key, default)
    return [_Entry(key, default) for key, default in found.items() if key.isidentifier()]


class _Entry(inspect.Parameter):
    """An entry of a dictionary: its name may be a word that no argument can have, such as `in`."""

    __slots__ = ("_entry",)

    def __init__(self, name: str, default: object) -> None:
        super().__init__("entry", inspect.Parameter.KEYWORD_ONLY, default=default)
        self._entry = name

    @property
    def name(self) -> str:
        return self._entry


def fields_held(function: Callable[..., Any], parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The fields that a function reads of an object which is neither a dictionary nor a tensor."""
    read = sorted(fields_read(function, parameter.name))
    if entries_read(function, parameter) or any(hasattr(torch.Tensor, name) for name in read):
        return []
    return [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in read]


def weights_read(function: Callable[..., Any], parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The entries of a dictionary, or the fields of an object, in which a function is handed its weights."""
    return entries_read(function, parameter) or fields_held(function, parameter)


def _plain(entries: object) -> list[tuple[str, object]]:
    """The entries of a dictionary that can be written down."""
    return [(k, v) for k, v in entries.items() if isinstance(v, _PLAIN)] if isinstance(entries, dict) else []


def _hands(value: ast.expr, names: set[str]) -> bool:
    """Whether an expression is one of these dictionaries, or one that is made of it."""
    if isinstance(value, ast.Call) and not (isinstance(value.func, ast.Name) and value.func.id == "dict"):
        return False
    return any(isinstance(n, (ast.Name, ast.Attribute)) and ast.unparse(n) in names for n in ast.walk(value))


def _constructor(target: Callable[..., Any]) -> ast.AST:
    """The constructor's code, or a function's; empty if it cannot be read."""
    code = target if inspect.isfunction(target) else target.__init__
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, ValueError, SyntaxError):
        return ast.Module([], [])


def fields_read(target: Callable[..., Any], argument: str) -> set[str]:
    """The fields that a constructor or a function reads of an argument."""
    return {
        node.attr
        for node in ast.walk(_constructor(target))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == argument
    }


def class_told(target: Callable[..., Any], parameter: inspect.Parameter) -> str | None:
    """The dataclass that an argument is said to be, by the name that the target's module knows it under."""
    kind = _annotated(target, parameter)
    known = kind is not None and is_dataclass(kind) and _names_around(target).get(kind.__name__) is kind
    return kind.__name__ if kind is not None and known else None


def configuration(target: Callable[..., Any], made_as: str) -> Callable[..., Any]:
    """What makes a configuration of its fields: it may follow from them more, or refuse some."""
    known: dict[str, Any] = {DICTIONARY: dict, NAMESPACE: Configuration}
    return known.get(made_as) or _names_around(target)[made_as]  # type: ignore[no-any-return]  # a class


def fields_said(target: Callable[..., Any], parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """The fields of the configuration that a target is made for, as arguments of their names and defaults."""
    said = (_fields(kind) for kind in _configurations(target, parameter))
    return next((fields for fields in said if fields), [])


def _fields(kind: type) -> list[inspect.Parameter]:
    """What a dataclass takes, or else what an instance holds that is made without arguments."""
    if is_dataclass(kind):
        held: dict[str, object] = {field.name: _default(field) for field in fields(kind) if field.init}
    else:
        try:
            held = vars(kind())
        except Exception:
            # It has no defaults, or is no configuration.
            return []
    keyword, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    return [
        inspect.Parameter(name, keyword, default=value)
        for name, value in held.items()
        if name.isidentifier() and (value is empty or _is_plain(value))
    ]


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _is_plain(value: object) -> bool:
    entries = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(entry, _PLAIN) for entry in entries)


def _configurations(target: Callable[..., Any], parameter: inspect.Parameter) -> list[type]:
    """Classes that the argument may be: what is annotated, or what the module calls a configuration."""
    told = _annotated(target, parameter)
    if told is not None:
        return [told]
    known = _names_around(target)
    named = [
        kind for name, kind in known.items() if isinstance(kind, type) and name.endswith(("Config", "Args"))
    ]
    # Of several, the one that begins as the target does.
    return sorted(named, key=lambda kind: -_shared(kind.__name__, target.__name__))


def _annotated(target: Callable[..., Any], parameter: inspect.Parameter) -> type | None:
    """The class that an argument is said to be, if it is said."""
    known = _names_around(target)
    told = parameter.annotation
    if isinstance(told, str):
        told = known.get(told)
    told = next((kind for kind in get_args(told) if kind is not type(None)), told)
    return told if isinstance(told, type) and told not in (parameter.empty, Any) else None


def _names_around(target: Callable[..., Any]) -> dict[str, Any]:
    """What the constructor's module knows by name, or a function's."""
    code = target if inspect.isfunction(target) else getattr(target, "__init__", None)
    return getattr(code, "__globals__", {})


def _shared(one: str, two: str) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
    )
