"""Is this attention right? A conformance suite; nothing here imports torch until it is used."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attncheck._api import run as run
    from attncheck.engine.request import Request as Request
    from attncheck.model.case import Case as Case
    from attncheck.model.errors import NoAdapterError as NoAdapterError
    from attncheck.model.errors import UsageError as UsageError
    from attncheck.model.finding import Finding as Finding
    from attncheck.model.report import Report as Report
    from attncheck.model.verdict import Verdict as Verdict
    from attncheck.pytest_plugin import conforms as conforms
    from attncheck.report.jsonl import load as load
    from attncheck.targets.frameworks.crossing import bridged as bridged
    from attncheck.targets.owning import owning as owning
    from attncheck.targets.projecting import projecting as projecting

_HOMES = {
    "Case": "attncheck.model.case",
    "Finding": "attncheck.model.finding",
    "NoAdapterError": "attncheck.model.errors",
    "Report": "attncheck.model.report",
    "Request": "attncheck.engine.request",
    "UsageError": "attncheck.model.errors",
    "Verdict": "attncheck.model.verdict",
    "bridged": "attncheck.targets.frameworks.crossing",
    "conforms": "attncheck.pytest_plugin",
    "load": "attncheck.report.jsonl",
    "owning": "attncheck.targets.owning",
    "projecting": "attncheck.targets.projecting",
    "run": "attncheck._api",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'attncheck' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
