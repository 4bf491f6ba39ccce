"""A worker and its replacements: limits, orders to it, and what becomes of its loss."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from attncheck.engine.child import Child, LostError, spawned
from attncheck.engine.server import fork_server
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.targets.ask import Trouble

Listener = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True)
class Limits:
    """What a target may take, per call and in all."""

    seconds_per_call: float = 10.0
    seconds_to_load: float = 60.0
    seconds_to_compile: float = 120.0
    bytes_of_memory: int = 4 << 30
    device: str = "cpu"

    @property
    def watched(self) -> bool:
        """Whether memory is watched from outside: CUDA reserves more addresses than any limit allows."""
        return self.device != "cpu"


class TargetTroubleError(Exception):
    """The target could not be loaded, or an inquiry about it ended; `progress` is what it last told."""

    def __init__(self, trouble: Trouble, progress: Mapping[str, object] | None = None) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.progress = progress


class Session(ABC):
    """At most one worker at a time; a lost one is replaced by the next order."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._child: Child | None = None
        self._losses = 0

    def close(self) -> None:
        """End the worker."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, function: str, arguments: Mapping[str, object], listen: Listener | None = None) -> object:
        """What `module:function` gives for the arguments and a `progress` to tell events to; all is JSON.

        Raises UsageError and NoAdapterError as it does, TargetTroubleError if it or its worker fails.
        """
        order = {"op": "run", "function": function, "arguments": arguments}
        return self._final(self._ready(), order, listen)["result"]

    def _ready(self) -> Child:
        """The worker, started if there is none."""
        if self._child is None:
            self._child = self._start()
        return self._child

    @abstractmethod
    def _start(self) -> Child:
        """A new worker."""

    def _lost(self, stage: str, error: LostError) -> Trouble:
        self.close()
        self._losses += 1
        return Trouble(stage, error.kind, str(error), lost=True)

    def _header(self, child: Child) -> Mapping[str, Any]:
        return child.receive(self.limits.seconds_to_load).header

    def _final(self, child: Child, order: Mapping[str, object], listen: Listener | None) -> Mapping[str, Any]:
        """The last message of an inquiry; each before it renews the time limit."""
        last: Mapping[str, Any] | None = None
        try:
            child.send({**order, "path": sys.path, "folder": os.getcwd()}, self.limits.seconds_to_load)
            while "progress" in (header := self._header(child)) or "written" in header:
                # What was written answered earlier questions, which have been read by now.
                if "progress" in header:
                    last = header["progress"]
                    if listen is not None:
                        listen(header["progress"])
        except LostError as error:
            raise TargetTroubleError(self._lost("import", error), last) from None
        except BaseException:
            self.close()
            raise
        if "refused" in header:
            self.close()
            kind = {"NoAdapterError": NoAdapterError}.get(str(header["refused"]), UsageError)
            raise kind(header["message"])
        if "trouble" in header:
            self.close()
            raise TargetTroubleError(Trouble(**header["trouble"]), last)
        return header


class Inquiry(Session):
    """Functions of attncheck run in a worker, because they touch a target that may crash."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        fork_server().start()

    def _start(self) -> Child:
        return spawned(fork_server(), self.limits.bytes_of_memory, self.limits.watched)
