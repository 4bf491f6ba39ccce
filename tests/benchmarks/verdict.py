"""Prints what a verdict costs: seconds by budget, the share spent in target and oracle, types, memory.

Run it as `python tests/benchmarks/verdict.py`. Ratios are of one run; seconds depend on the machine.
"""

import inspect
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from attncheck.checks import CHECKS
from attncheck.checks.check import speaks_of
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import BUDGETS
from attncheck.targets.bench import Bench
from attncheck.targets.discover import discover
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.loading import load
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID
from attnref.mechanisms.multi_head import MultiHead

TARGETS = (
    ("torch.nn:MultiheadAttention", "multi_head"),
    ("torch.nn.functional:scaled_dot_product_attention", "scaled_dot_product"),
)


def verdicts() -> Table:
    """The command line from its start to its end, beside the import of torch alone.

    Seconds of the processor are those of judge and workers; the clock's depend on what else runs.
    """
    table = Table("target", "budget", "seconds", "less torch", "of the processor", "less torch", "exit")
    alone, alone_used = commanded("-c", "import torch")[:2]
    for target, mechanism in TARGETS:
        for budget in BUDGETS[:2]:
            words = (
                "-m",
                "attncheck",
                "run",
                target,
                "-m",
                mechanism,
                "--budget",
                budget,
                "--seed",
                "0",
                "-q",
            )
            seconds, used, code = commanded(*words)
            numbers = (seconds, seconds - alone, used, used - alone_used)
            table.add_row(target, budget, *(f"{number:.1f}" for number in numbers), str(code))
    return table


def commanded(*words: str) -> tuple[float, float, int]:
    """Seconds by the clock and of the processor that a Python needs for a command, and its exit code."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], check=False, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, done.returncode


class Clocked(Bench):
    """A bench that adds up the time spent in it."""

    spent = 0.0

    def perform(self, ask: Any) -> Any:
        started = time.perf_counter()
        try:
            return super().perform(ask)
        finally:
            Clocked.spent += time.perf_counter() - started


def share() -> Table:
    """How much of the time of judging, in one process, goes into answering questions."""
    from attncheck.checks import oracle

    oracle.Bench = Clocked  # type: ignore[misc, attr-defined]  # the judge's own bench is clocked too
    table = Table("target", "seconds", "in target and oracle")
    for target, mechanism in TARGETS:
        loaded = load(target)
        adapter = FoundAdapter(discover(loaded, BY_ID[mechanism]), loaded)
        subject = Subject(BY_ID[mechanism], adapter.interface)
        executor = InProcess(adapter)
        executor._bench = Clocked(adapter)
        Clocked.spent, started, known = 0.0, time.perf_counter(), Known()
        for check in CHECKS:
            if speaks_of(check, subject):
                judge(check, subject, cases(check, subject, "default", 0), executor, known)
        seconds = time.perf_counter() - started
        table.add_row(target, f"{seconds:.1f}", f"{Clocked.spent / seconds:.0%}")
    return table


def types() -> Table:
    """What checked annotations cost: the reference as it is, against its plain function."""
    table = Table("batch, length, width", "typed / untyped")
    for batch, length, width in ((2, 16, 64), (8, 256, 512)):
        module, x = MultiHead(width, 8), torch.randn(batch, length, width)
        plain = inspect.unwrap(MultiHead.forward)
        typed = seconds_of(partial(module, x, x, x))
        # The functions inside stay typed: this is the cost of one layer of annotations.
        untyped = seconds_of(partial(plain, module, x, x, x))
        table.add_row(f"{batch}, {length}, {width}", f"×{typed / untyped:.2f}")
    return table


def seconds_of(call: Callable[[], object], repeats: int = 30) -> float:
    """The fastest of some calls."""
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)
    console = Console()
    for table in (verdicts(), types(), share()):
        console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    console.print(f"peak memory of the judge: {peak} MiB")


if __name__ == "__main__":
    main()
