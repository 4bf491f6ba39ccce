"""Names that a found adapter offers a target in case it reads them, cut down to those it reads."""

import inspect
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attncheck.targets.configuring import fields_said
from attncheck.targets.found import DICTIONARY, Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.trying import SIZE_SETS, attempt, case_for


def pruned(found: Found, target: Any) -> Found:
    """The same adapter with only those fields of a configuration, and keys of a call, that are read."""
    if not found.config and not any(a.pack == "dict" for a in found.call):
        return found
    read: set[str] = set()
    adapter = FoundAdapter(found, target)
    for sizes in SIZE_SETS:
        case = case_for(found, adapter.mechanism, sizes)
        if case is not None and attempt(found, _noting(found, target, read), case).ran:
            smaller = _only(found, read | _said(found, target))
            # What reads its configuration as a whole, by vars() say, leaves no note.
            return smaller if attempt(smaller, target, case).ran else found
    return found


def _said(found: Found, target: Any) -> set[str]:
    """The fields of the target's own configuration: some are read in training mode alone."""
    parameter = inspect.signature(target).parameters.get(found.config) if found.config else None
    return {field.name for field in fields_said(target, parameter)} if parameter is not None else set()


def _only(found: Found, read: set[str]) -> Found:
    if found.config:
        arguments = {n: e for n, e in found.arguments.items() if n in read}
        # An option that only went into a field nobody reads is one that the target does not take.
        unread = set(found.arguments.values()) - set(arguments.values())
        takes = tuple(option for option in found.takes if option not in unread)
        return replace(found, arguments=arguments, takes=takes)
    call = tuple(replace(a, keys=tuple(sorted(read))) if a.pack == "dict" else a for a in found.call)
    return replace(found, call=call)


def _noting(found: Found, target: Any, read: set[str]) -> Callable[..., Any]:
    """The target as it is, except that what it is given takes down what is read of it."""

    def built(**arguments: Any) -> Any:
        if found.config:
            config = arguments[found.config]
            keyed = found.made_as == DICTIONARY
            arguments = {found.config: _Keys(config, read) if keyed else _Fields(vars(config), read)}
        instance = target(**arguments)
        for argument in found.call:
            if argument.pack == "dict":
                _note_keys(instance, argument.name, read)
        return instance

    return built


def _note_keys(instance: Any, name: str, read: set[str]) -> None:
    forward = instance.forward

    def noting(*args: Any, **kwargs: Any) -> Any:
        if name in kwargs:
            kwargs[name] = _Keys(kwargs[name], read)
        else:
            args = (_Keys(args[0], read), *args[1:])
        return forward(*args, **kwargs)

    instance.forward = noting


class _Fields(types.SimpleNamespace):
    """A configuration that takes down which fields are read."""

    def __init__(self, fields: dict[str, Any], read: set[str]) -> None:
        super().__init__(**fields)
        super().__setattr__("_read", read)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            super().__getattribute__("_read").add(name)
        return super().__getattribute__(name)


class _Keys(dict[str, Any]):
    """Inputs that take down which keys are read."""

    def __init__(self, entries: dict[str, Any], read: set[str]) -> None:
        super().__init__(entries)
        self._read = read

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return super().get(key, default)
