"""What others took of the machine is known, and nothing is where nobody counts."""

import os
import time
from pathlib import Path

import pytest

from attncheck.targets.waiting import kept_waiting


@pytest.mark.skipif(
    not Path("/proc/thread-self/schedstat").exists(),
    reason="the system does not tell how long a thread waited",
)
def test_who_shares_a_processor_with_three_others_waits_for_them() -> None:
    before, allowed = kept_waiting(), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        others = [_busy_child() for _ in range(3)]
        _compute(0.2)
    finally:
        os.sched_setaffinity(0, allowed)
    for other in others:
        os.waitpid(other, 0)

    assert kept_waiting() - before > 0.2


def _busy_child() -> int:
    child = os.fork()
    if not child:
        _compute(0.5)
        os._exit(0)
    return child


def _compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_process_that_is_not_there_was_kept_waiting_by_nobody() -> None:
    assert kept_waiting(2**30) == 0.0
