"""The judge's side of one worker: messages under a time limit, what it printed, how it ended."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from attncheck.engine.server import ForkServer, reap
from attncheck.engine.wire import BrokenFrameError, Frame, Reader, packed
from attncheck.engine.worker import NEWS_SECONDS, Ends, live
from attncheck.targets.adapter import Adapter
from attncheck.targets.waiting import kept_waiting

_KEPT_OUTPUT = 2000
_GRACE_SECONDS = 5.0  # between the end of a connection and the end of its process
_LOOK_SECONDS = 0.2  # how often the memory of a worker is looked at

End = Callable[[int, float], tuple[int, bool] | None]


class LostError(Exception):
    """The worker is gone. `kind` names how: a signal, an exit code, "time limit", …"""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(eq=False)
class Child:
    """One worker. `memory` is watched here where the worker has no limit of its own."""

    pid: int
    ends: Ends
    end: End
    memory: int | None = None

    def __post_init__(self) -> None:
        os.set_blocking(self.ends.output, False)
        self._poll = select.poll()
        self._poll.register(self.ends.channel, select.POLLIN)
        self._poll.register(self.ends.output, select.POLLIN)
        self._most = None if self.memory is None else self.memory + (_resident(self.pid) or 0)
        self._messages = Reader()
        self._answers = Reader()
        self._read = 0
        self._printed = b""
        self._loss: LostError | None = None

    def send(self, header: Mapping[str, object], seconds: float) -> None:
        """Put a message; answers to earlier ones are dropped. Raises LostError."""
        os.ftruncate(self.ends.answers, 0)
        self._read = 0
        self.ends.channel.settimeout(seconds)
        try:
            self.ends.channel.sendall(b"".join(packed(header)))
        except TimeoutError:
            raise self._end("time limit", f"took nothing in within {seconds:g} s") from None
        except OSError:
            raise self._end(None, "the process ended") from None

    def receive(self, seconds: float) -> Frame:
        """The next message. Raises LostError if none comes in time, or something else does."""
        deadline, kept = time.monotonic() + seconds, kept_waiting(self.pid)
        try:
            while (frame := self._messages.next()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    # What others took of a busy machine is no time that the target had.
                    left += kept_waiting(self.pid) - kept
                if left <= 0:
                    raise self._end("time limit", f"no answer within {seconds:g} s")
                self._take(left)
        except BrokenFrameError as error:
            raise self._end("broken protocol", str(error)) from None
        return frame

    def answer(self, seconds: float) -> Frame:
        """The next answer, those of a lost worker included. Raises LostError behind the last."""
        try:
            while (frame := self._answers.next()) is None:
                if data := os.pread(self.ends.answers, 1 << 20, self._read):
                    self._read += len(data)
                    self._answers.feed(data)
                elif self._loss is not None:
                    raise self._loss
                else:
                    self._wait(seconds)
        except BrokenFrameError as error:
            raise self._end("broken protocol", str(error)) from None
        return frame

    def stop(self) -> None:
        """End the process and let go of it."""
        self._end("closed", "no longer needed")
        _close(self.ends)

    def _wait(self, seconds: float) -> None:
        try:
            # A worker may be that late to say that the question before was answered.
            self.receive(seconds + NEWS_SECONDS)
        except LostError as error:
            # Raised behind the last answer that it had written by then.
            self._loss = error

    def _take(self, seconds: float) -> None:
        """Wait for bytes of either kind and take them in."""
        longest = seconds if self._most is None else min(seconds, _LOOK_SECONDS)
        ready = [descriptor for descriptor, _ in self._poll.poll(longest * 1000)]
        # A little of what is printed at a time: a flood must not keep answers waiting.
        if self.ends.output in ready:
            self._drain(1 << 16)
        if self.ends.channel.fileno() in ready:
            self._feed()
        if self._most is not None and (_resident(self.pid) or 0) > self._most:
            raise self._end("out of memory", f"more than {self.memory} bytes")

    def _feed(self) -> None:
        try:
            data = self.ends.channel.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise self._end(None, "the process ended")
        self._messages.feed(data)

    def _drain(self, most: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while most > 0:
                data = os.read(self.ends.output, 1 << 16)
                if not data:
                    # The target closed it; a poll would report that for ever.
                    with contextlib.suppress(KeyError):
                        self._poll.unregister(self.ends.output)
                    return
                self._printed = (self._printed + data)[-_KEPT_OUTPUT:]
                most -= len(data)

    def _end(self, kind: str | None, message: str) -> LostError:
        """End the process; what became of it. Without `kind` it is left time to end by itself."""
        if self._loss is not None:
            return self._loss
        ended = self.end(self.pid, 0.0 if kind else _GRACE_SECONDS)
        if ended is None:
            kind, message = kind or "lost server", f"{message}; the server of workers was lost with it"
        elif not ended[1]:
            # It went by itself, perhaps while a child of its own kept the connection open.
            kind = _name(ended[0])
        self._drain(1 << 20)
        printed = self._printed.decode(errors="replace").strip().splitlines()
        if printed:
            message += f"; its last output: {printed[-1].strip()[-300:]}"
        self._loss = LostError(kind or "broken protocol", message)
        return self._loss


def spawned(server: ForkServer, memory: int, watched: bool) -> Child:
    """A worker from the server. `watched` limits the resident size instead of the addresses."""
    with _connected() as (ours, theirs):
        pid = server.fork(theirs, None if watched else memory)
        return Child(pid, ours, server.end, memory if watched else None)


def forked(adapter: Adapter, server: ForkServer, memory: int, watched: bool) -> Child:
    """A worker that is a fork of this process and has its objects, the adapter among them."""
    with _connected() as (ours, theirs):
        judge = os.getpid()
        pid = os.fork()
        if not pid:
            try:
                server.forget()
                _close(ours)
                live(theirs, judge, None if watched else memory, adapter)
            finally:
                # Whatever happens, the judge's own code must not go on twice.
                os._exit(1)
        return Child(pid, ours, reap, memory if watched else None)


@contextlib.contextmanager
def _connected() -> Iterator[tuple[Ends, Ends]]:
    """The judge's ends and the worker's; the latter are closed here when the worker has them."""
    one, other = socket.socketpair()
    read, write = os.pipe()
    answers = _unnamed_file()
    ours, theirs = Ends(one, read, answers), Ends(other, write, os.dup(answers))
    try:
        yield ours, theirs
    except BaseException:
        _close(ours)
        raise
    finally:
        _close(theirs)


def _unnamed_file() -> int:
    # To the end each time, also when the judge has emptied it in between.
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("answers")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_RDWR | os.O_APPEND)
    return descriptor


def _close(ends: Ends) -> None:
    ends.channel.close()
    os.close(ends.output)
    os.close(ends.answers)


def _name(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"exit code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _resident(pid: int) -> int | None:
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
