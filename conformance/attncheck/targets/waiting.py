"""How long others kept a process from computing: seconds that are no sign of its hanging."""

import contextlib


def kept_waiting(process: int | str = "thread-self") -> float:
    """The seconds for which a process, or this thread, could have run and no processor was free; 0 if nobody counts."""
    with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{process}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9
    return 0.0
