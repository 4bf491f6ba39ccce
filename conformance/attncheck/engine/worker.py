"""The target's side of isolation: what runs in the process that the target may take down."""

import ctypes
import faulthandler
import gc
import importlib
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import Any, NoReturn, cast

# Taken before a target is imported: it may replace torch's own.
import torch
import torch.nn.functional
from torch import set_num_threads, set_printoptions

from attncheck.engine.wire import Reader, UnsendableError, packed
from attncheck.model.case import Scalar
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.targets.adapter import Adapter, Interface
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.bench import Bench

NEWS_SECONDS = 0.25  # how long written answers may go unannounced
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_WATCHED: Mapping[str, Any] = {
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.nn": torch.nn,
    "torch.nn.Module": torch.nn.Module,
    "torch.nn.functional": torch.nn.functional,
    "torch.linalg": torch.linalg,
}


@dataclass(frozen=True)
class Ends:
    """What a worker holds of its judge: `output` takes what is printed, `answers` is a file.

    Answers go through a file because a reader who waits is woken by every one of them,
    which on few cores costs more than many questions do.
    """

    channel: socket.socket
    output: int
    answers: int


def live(ends: Ends, parent: int, memory: int | None, ready: Adapter | None = None) -> NoReturn:
    """Spend the process as a worker; `ready` is the adapter if it was forked from the judge."""
    code = 1
    try:
        _settle(ends.output, parent)
        _limit(memory)
        _Worker(ends, ready).serve()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        # Not sys.exit: what the parent has registered for its own end is not ours to run.
        os._exit(code)


def _settle(output: int, parent: int) -> None:
    # A group of its own, so that what the target starts ends with it and Ctrl-C is the judge's.
    os.setsid()
    die_with_parent(parent)
    # The judge's handler would write a crash into the judge's own standard error.
    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, place in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, place)
    for unused in {null, output} - {0, 1, 2}:
        os.close(unused)
    sys.stdin = os.fdopen(0, closefd=False)
    # By the line: what stands in a buffer when the target crashes is lost.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False, errors="replace")
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="replace")
    if platform.libc_ver()[0] == "glibc":
        # Memory goes back late: to fetch it anew for every question made large ones 1.4 times dearer.
        for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, 32 << 20)
    # Errors quote tensors, modules with all of theirs; nobody reads more than their beginning.
    set_printoptions(edgeitems=1, threshold=0)  # type: ignore[no-untyped-call]  # torch types it not
    # Threads of the parent's pool do not exist here, and waiting for one never ends.
    set_num_threads(1)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process with its parent, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _limit(memory: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None and sys.platform == "linux":
        with open("/proc/self/statm") as file:
            present = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + memory, present + memory))


class _Worker:
    """Answers the judge until it hangs up."""

    def __init__(self, ends: Ends, ready: Adapter | None) -> None:
        self._ends = ends
        self._reader = Reader()
        self._bench = None if ready is None else self._benched(ready)
        self._originals = Originals.now()
        self._patched: list[str] = []

    def serve(self) -> None:
        operations: Mapping[object, Callable[[Mapping[str, Any]], None]] = {
            "load": self._load,
            "put": self._put,
            "run": self._run,
        }
        while (order := self._receive()) is not None:
            operations[order["op"]](order)

    def _benched(self, adapter: Adapter) -> Bench:
        return Bench(cast(Adapter, _Announcing(adapter, self._write)))

    def _load(self, order: Mapping[str, Any]) -> None:
        def opened() -> dict[str, object]:
            if self._bench is None:
                self._bench = self._benched(our(order["open"])(**order["arguments"]))
            return {"loaded": _described(self._bench.adapter.interface)}

        self._reply(order, opened)
        self._patched = self._originals.replaced()

    def _run(self, order: Mapping[str, Any]) -> None:
        def progress(event: Mapping[str, object]) -> None:
            self._send({"progress": event})

        self._reply(
            order, lambda: {"result": our(order["function"])(**order["arguments"], progress=progress)}
        )

    def _reply(self, order: Mapping[str, Any], work: Callable[[], dict[str, object]]) -> None:
        sys.path[:] = order["path"]
        os.chdir(order["folder"])
        try:
            self._send(work())
        except (UsageError, NoAdapterError) as error:
            self._send({"refused": type(error).__name__, "message": str(error)})
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._send({"trouble": asdict(Trouble("import", type(error).__name__, _one_line(error)))})

    def _put(self, order: Mapping[str, Any]) -> None:
        assert self._bench is not None, "expected the order to load before any question"
        asks = order["asks"]
        told = monotonic()
        for index, data in enumerate(asks):
            answer = self._bench.perform(Ask.from_json(data))
            if index == len(asks) - 1:
                self._patched = self._originals.replaced()
            self._answer(replace(answer, facts={**answer.facts, "patched": self._patched}))
            if (now := monotonic()) > told + NEWS_SECONDS:
                self._send({"written": index + 1})
                told = now
        self._send({"written": len(asks)})

    def _answer(self, answer: Answer) -> None:
        trouble = None if answer.trouble is None else asdict(answer.trouble)
        try:
            self._write({"facts": answer.facts, "trouble": trouble}, answer.tensors)
        except (UnsendableError, RuntimeError, MemoryError) as error:
            trouble = asdict(Trouble("forward", type(error).__name__, _one_line(error)))
            self._write({"facts": {"patched": self._patched}, "trouble": trouble})

    def _write(self, header: Mapping[str, object], tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        # Packed whole before the first byte leaves: a failure here must not leave half a frame.
        for buffer in packed(header, tensors):
            while len(buffer):
                buffer = buffer[os.write(self._ends.answers, buffer) :]

    def _send(self, header: Mapping[str, object]) -> None:
        self._ends.channel.sendall(b"".join(packed(header)))

    def _receive(self) -> Mapping[str, Any] | None:
        while (frame := self._reader.next()) is None:
            data = self._ends.channel.recv(1 << 16)
            if not data:
                return None
            self._reader.feed(data)
        return frame.header


def our(name: str) -> Callable[..., Any]:
    """The function of this package that `module:function` names."""
    module, _, function = name.partition(":")
    if not module.startswith("attncheck."):
        raise UsageError(f"expected a function of attncheck, got {name!r}")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


class _Announcing:
    """An adapter that says when a constructor runs, so that a lost process can be told apart."""

    def __init__(self, adapter: Adapter, tell: Callable[[Mapping[str, object]], None]) -> None:
        self._adapter = adapter
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def build(self, names: Mapping[str, Scalar]) -> Any:
        self._tell({"stage": "constructor"})
        built = self._adapter.build(names)
        self._tell({"stage": "forward"})
        return built


@dataclass(frozen=True)
class Originals:
    """What torch's names stood for at one moment."""

    objects: Mapping[str, Mapping[str, object]]

    @staticmethod
    def now() -> "Originals":
        """The callables as they are; None where a class inherits one, until it is shadowed."""
        return Originals({name: _callables(place) for name, place in _WATCHED.items()})

    def replaced(self) -> list[str]:
        """Names that stand for something else now; what is new beside them does not count."""
        found = []
        for path, objects in self.objects.items():
            present = vars(_WATCHED[path])
            changed = [n for n, old in objects.items() if present.get(n) is not old]
            found += [f"{path}.{n}" for n in changed if not _wrapped_by_torch(present.get(n), objects[n])]
        return sorted(found)


def _callables(place: Any) -> dict[str, object]:
    present = vars(place)
    # Packages replace what reads and writes files to be safe or patient: no result depends on it.
    names = [n for n in dir(place) if place is not torch or n not in ("load", "save")]
    return {n: present.get(n) for n in names if callable(getattr(place, n, None))}


def _wrapped_by_torch(new: object, old: object) -> bool:
    # torch._dynamo wraps torch.manual_seed when it is first imported.
    code = getattr(new, "__code__", None)
    if code is None or getattr(new, "__wrapped__", None) is not old:
        return False
    return bool(code.co_filename.startswith(os.path.dirname(torch.__file__) + os.sep))


def _described(interface: Interface) -> dict[str, object]:
    described = {n: dict(v) if isinstance(v, Mapping) else v for n, v in vars(interface).items()}
    return {**described, "norms": [vars(norm) for norm in interface.norms]}


def _one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())
    return message if len(message) <= 400 else message[:397] + "…"


def freeze() -> None:
    """Keep what is loaded so far out of the collector, so that forks share its pages."""
    gc.collect()
    gc.freeze()
