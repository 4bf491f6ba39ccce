"""The fork server: a process that has torch loaded and becomes workers, and the judge's handle on it.

Not multiprocessing's: that one imports the judge's own `__main__` again in every worker.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    # Not at run time: whoever starts the server need not have loaded torch.
    from attncheck.engine.worker import Ends

_REPLY_SECONDS = 60.0
_END_SECONDS = 2.0
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from attncheck.engine.server import main
main(int(sys.argv[2]))
"""


_SERVERS: "dict[int, ForkServer]" = {}


class ServerError(RuntimeError):
    """The fork server cannot be started or does not answer."""


@dataclass
class ForkServer:
    """The judge's handle. Started on first use, again when it is lost."""

    _end: Callable[[], object] | None = None
    _socket: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Let it load torch meanwhile; returns at once."""
        with self._lock:
            self._connection()

    def start_early(self) -> None:
        """Load torch in this process and fork the server from it, where nothing speaks against that.

        Torch is then loaded once and not twice. For a process that has done nothing so far: a fork
        lacks all threads but one, and has whatever its parent has imported.
        """
        if self._socket is not None or "torch" in sys.modules or sys.platform != "linux":
            return
        _preload()
        # numpy's threads are no obstacle: it ends them before a fork.
        if threading.active_count() == 1:
            with self._lock:
                self._fork_server()

    def fork(self, ends: "Ends", memory: int | None) -> int:
        """A new worker with these ends; its process id."""
        request: dict[str, object] = {"op": "fork", "memory": memory}
        for _ in range(2):
            with contextlib.suppress(OSError, ValueError):
                return int(self._ask(request, [ends.channel.fileno(), ends.output, ends.answers])["pid"])
        raise ServerError("expected the server of workers to start one, twice it did not answer")

    def end(self, pid: int, grace: float) -> tuple[int, bool] | None:
        """End a worker and its children: wait status and whether it had to be killed.

        None where the server was lost, and its workers with it.
        """
        try:
            reply = self._ask({"op": "end", "pid": pid, "grace": grace}, [])
            return int(reply["status"]), bool(reply["killed"])
        except (OSError, ValueError):
            return None

    def stop(self) -> None:
        """End the server and its workers."""
        with self._lock:
            self._drop()

    def forget(self) -> None:
        """In a fork of the judge: the server is the judge's."""
        if self._socket is not None:
            self._socket.close()

    def _ask(self, request: dict[str, object], descriptors: list[int]) -> dict[str, Any]:
        with self._lock:
            try:
                connection = self._connection()
                socket.send_fds(connection, [json.dumps(request).encode()], descriptors)
                data = connection.recv(1 << 12)
                if not data:
                    raise ConnectionResetError("the server of workers hung up")
                reply: dict[str, Any] = json.loads(data)
            except BaseException:
                # Interrupted or lost: a late reply must not be taken for that to the next request.
                self._drop()
                raise
        return reply

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._end is not None:
            # It sees the end of the connection, ends its workers and goes.
            self._end()
        self._end = self._socket = None

    def _connection(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                # -P: a file in the user's folder must not stand in for one of the standard library.
                command = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())]
                process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
            self._end = functools.partial(_await, process)
            ours.settimeout(_REPLY_SECONDS)
            self._socket = ours
        return self._socket

    def _fork_server(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            pid = os.fork()
            if not pid:
                ours.close()
                _live_as_server(theirs.fileno())
        self._end = functools.partial(reap, pid, _END_SECONDS)
        ours.settimeout(_REPLY_SECONDS)
        self._socket = ours


def _await(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _live_as_server(descriptor: int) -> NoReturn:
    """Spend a fork of the judge as its server."""
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for place in (0, 1):
            os.dup2(null, place)
        main(os.dup(descriptor))
        code = 0
    finally:
        # Whatever happens, the judge's own code must not go on twice.
        os._exit(code)


def fork_server() -> ForkServer:
    """The server of this process; a fork of it gets one of its own."""
    pid = os.getpid()
    if pid not in _SERVERS:
        _SERVERS[pid] = ForkServer()
        atexit.register(_SERVERS[pid].stop)
    return _SERVERS[pid]


def reap(pid: int, grace: float) -> tuple[int, bool]:
    """Wait `grace` seconds for a child's own end, then kill it; its group is killed in any case."""
    deadline = time.monotonic() + grace
    pause = 0.0005
    status = 0
    while not (done := _ended(pid)) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    if done:
        status = done[1]
    # The child may not have come as far as to lead a group.
    for kill in (os.killpg, os.kill) if not done else (os.killpg,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    if not done:
        status = os.waitpid(pid, 0)[1]
    return status, not done


def _ended(pid: int) -> tuple[int, int] | None:
    found = os.waitpid(pid, os.WNOHANG)
    return found if found[0] else None


def main(descriptor: int) -> None:
    """Serve the judge until it hangs up. Workers that are left are killed then."""
    judge = socket.socket(fileno=descriptor)
    _preload()
    import torch

    from attncheck.engine.worker import freeze

    # The judge's own arguments are no business of a target.
    sys.argv = ["-c"]
    # One thread: a pool of threads would not survive a fork.
    torch.set_num_threads(1)
    freeze()
    workers: set[int] = set()
    while request := _received(judge):
        order, descriptors = request
        if order["op"] == "fork":
            pid = _forked(judge, descriptors, order["memory"])
            workers.add(pid)
            reply: dict[str, object] = {"pid": pid}
        else:
            workers.discard(order["pid"])
            status, killed = reap(order["pid"], order["grace"])
            reply = {"status": status, "killed": killed}
        judge.sendall(json.dumps(reply).encode())
    for pid in workers:
        reap(pid, 0.0)


def _received(judge: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, descriptors, _, _ = socket.recv_fds(judge, 1 << 12, 3)
    return (json.loads(data), list(descriptors)) if data else None


def _forked(judge: socket.socket, descriptors: list[int], memory: int | None) -> int:
    from attncheck.engine.worker import Ends, live

    parent = os.getpid()
    pid = os.fork()
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    judge.close()
    channel, output, answers = descriptors
    return live(Ends(socket.socket(fileno=channel), output, answers), parent, memory)


def _preload() -> None:
    import attncheck.targets

    for module in pkgutil.iter_modules(attncheck.targets.__path__, "attncheck.targets."):
        importlib.import_module(module.name)
