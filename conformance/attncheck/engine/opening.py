"""From a request to a subject with an executor: the target found, loaded and out of harm's way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from attncheck.engine.isolated import Forked, Isolated
from attncheck.engine.put import Executor, InProcess
from attncheck.engine.ranks import sharded
from attncheck.engine.request import Request
from attncheck.engine.session import Inquiry, Limits
from attncheck.model import installed
from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.frameworks.bridges import dtypes_of
from attncheck.targets.opening import find_for
from attncheck.targets.projecting import reached
from attncheck.targets.subject import Subject
from attnref import Mechanism

DTYPES = ("float64", "float32", "bfloat16", "float16")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """A target that is ready for questions. `found` is how, if it was not told.

    `another` makes a further worker with the same target, where it can have several.
    """

    subject: Subject
    executor: Executor
    found: Found | None
    isolated: bool
    another: Callable[[], Isolated] | None = None


def mechanism_of(name: str | None) -> Mechanism | None:
    """The mechanism of that id. Raises UsageError with the nearest name."""
    if name is None:
        return None
    if name not in BY_ID:
        raise UsageError(
            f"unknown mechanism {name!r}{did_you_mean(name, BY_ID)} (attncheck list mechanisms shows all {len(BY_ID)})"
        )
    return BY_ID[name]


def open_target(request: Request, tell: Tell = lambda _: None) -> Opened:
    """Find out how the target is called, and start the process it lives in.

    Raises UsageError, NoAdapterError, or TargetTroubleError if importing it ends its process.
    """
    mechanism_of(request.mechanism)
    dtypes = request.dtypes
    unknown = [d for d in dtypes if d not in DTYPES]
    if unknown:
        raise UsageError(
            f"unknown dtype {unknown[0]!r}{did_you_mean(unknown[0], DTYPES)}; expected one of {', '.join(DTYPES)}"
        )
    limits = Limits(
        seconds_per_call=request.seconds_per_call,
        bytes_of_memory=request.bytes_of_memory,
        device=request.device,
    )
    if request.world > 1:
        return Opened(*sharded(request, limits, dtypes or DTYPES), found=None, isolated=True)
    if request.adapter is not None:
        return _with_adapter(request, "open_written", {"adapter": request.adapter}, limits)
    if not isinstance(request.target, str):
        return _object(request, limits, dtypes)
    if request.mechanism is None and request.target in installed.points(installed.ADAPTERS):
        return _with_adapter(request, "open_registered", {"target": request.target}, limits)
    arguments = {"target": request.target, "mechanism": request.mechanism, "init": dict(request.init)}
    with Inquiry(limits) as inquiry:
        answer: Any = inquiry.run(
            "attncheck.targets.opening:find", arguments, lambda e: tell(str(e.get("stage", "")))
        )
    found = Found.from_json(answer)
    another = partial(
        Isolated,
        "attncheck.targets.opening:open_found",
        {"target": request.target, "found": answer},
        limits,
    )
    interface = FoundAdapter(found, None).interface
    dtypes = dtypes or dtypes_of(found.framework)
    subject = Subject(BY_ID[found.mechanism], interface, request.device, dtypes)
    return Opened(subject, another(), found, isolated=True, another=another)


def _with_adapter(request: Request, opener: str, arguments: dict[str, object], limits: Limits) -> Opened:
    """A target whose adapter was told: nothing is to be found out."""
    another = partial(Isolated, f"attncheck.targets.opening:{opener}", arguments, limits)
    executor = another()
    interface = executor.interface
    subject = Subject(BY_ID[interface.mechanism], interface, request.device, request.dtypes or DTYPES)
    return Opened(subject, executor, None, isolated=True, another=another)


def _object(request: Request, limits: Limits, dtypes: tuple[str, ...]) -> Opened:
    """An object without an import path lives in a fork of this process, or here if asked."""
    name = getattr(request.target, "__qualname__", type(request.target).__name__)
    found = find_for(request.target, name, request.mechanism, request.init, lambda _: None)
    adapter = FoundAdapter(found, reached(request.target, found))
    executor: Executor = Forked(adapter, limits) if request.isolate else InProcess(adapter)
    return Opened(
        Subject(
            BY_ID[found.mechanism], adapter.interface, request.device, dtypes or dtypes_of(found.framework)
        ),
        executor,
        found,
        isolated=request.isolate,
    )
