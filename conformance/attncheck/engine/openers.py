"""Ways for a worker to come by an adapter that need no search: a reference, a file that defines one."""

import importlib.util
from pathlib import Path
from typing import cast

from attncheck.model.errors import UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import Adapter, Reference


def open_reference(mechanism: str) -> Adapter:
    """The reference of a mechanism, judged as if it were somebody's."""
    return Reference(BY_ID[mechanism])


def open_file(path: str, name: str) -> Adapter:
    """The adapter that a Python file calls `name`. Raises UsageError if there is none."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UsageError(f"expected a Python file with an adapter, got {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise UsageError(f"{path} defines no {name!r}; name the adapter it should take")
    return cast(Adapter, getattr(module, name))
