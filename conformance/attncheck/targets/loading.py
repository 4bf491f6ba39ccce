"""Loads a target by dotted path or by file: `package.module:Name` or `path/to/file.py:Name`."""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.model.nearest import did_you_mean

# Files are registered under names that no import statement asks for.
_PRIVATE = "attncheck_target_"


def load(spec: str) -> Any:
    """The object that `spec` names.

    Raises UsageError if the form is wrong, the module, file or name does not exist, or the file
    does not parse; NoAdapterError if another package that it imports is not there. Whatever else
    the module raises while it is imported passes through.
    """
    # The one backend of Keras that every environment of this suite has.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise UsageError(f"expected package.module:Name or path/to/file.py:Name, got {spec!r}")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing == place.partition(".")[0]:
            raise
        # What is not installed here says nothing about the target.
        raise NoAdapterError(
            f"{place} cannot be imported here: it imports {error.name}, which is not there; install it"
        ) from None
    return _attribute(module, name, place)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    # What a script next to it could import, the target can import too, unless the file itself
    # bears the name of what it imports: an adapter may be called like its package.
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(len(sys.path) if _is_elsewhere(path) else 0, folder)
    name = _PRIVATE + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py has a loader"
    assert spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{path} does not parse: {error.msg} (line {error.lineno})") from None
    return module


def _is_elsewhere(path: Path) -> bool:
    """Whether a module of the file's name is found that is not the file."""
    found = PathFinder.find_spec(path.stem)
    return found is not None and (not found.origin or Path(found.origin).resolve() != path.resolve())


def _from_package(name: str) -> ModuleType:
    # As `python -m` does, but last, so that nothing here shadows an installed package.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(f"there is no module {error.name!r}{_nearest_module(name)}") from None
        raise
    except SyntaxError as error:
        raise UsageError(
            f"{error.filename or name} does not parse: {error.msg} (line {error.lineno})"
        ) from None


def _nearest_module(name: str) -> str:
    parent, _, last = name.rpartition(".")
    if not parent or parent not in sys.modules:
        return ""
    return _suggestion(last, vars(sys.modules[parent]))


def _attribute(module: ModuleType, name: str, place: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"{place} has no {part!r}{_suggestion(part, vars(found) if hasattr(found, '__dict__') else {})}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{place}:{name} is a {type(found).__name__}; expected a class or a function")
    return found


def _suggestion(name: str, among: Any) -> str:
    return did_you_mean(name, [n for n in among if not n.startswith("_")])
