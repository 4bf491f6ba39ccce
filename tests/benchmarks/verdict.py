"""Prints what a verdict costs: seconds by budget, the share spent in target and oracle, types, memory.

Run it as `python tests/benchmarks/verdict.py`. Ratios are of one run; seconds depend on the machine.
"""

import inspect
import resource
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
from attncheck.engine.request import BUDGETS, Request
from attncheck.engine.run import run
from attncheck.targets.bench import Bench
from attncheck.targets.discover import discover
from attncheck.targets.found import FoundAdapter
from attncheck.targets.loading import load
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID
from attnref.mechanisms.multi_head import MultiHead

TARGETS = (
    ("torch.nn:MultiheadAttention", "multi_head"),
    ("torch.nn.functional:scaled_dot_product_attention", "scaled_dot_product"),
)


def verdicts() -> Table:
    """Seconds from the request to the report, everything but the import of torch in the judge included."""
    table = Table("target", "budget", "seconds", "checks judged", "conforms")
    for target, _ in TARGETS:
        for budget in BUDGETS[:2]:
            started = time.perf_counter()
            report = run(Request(target, seed=0, budget=budget))
            seconds = time.perf_counter() - started
            judged = sum(v.cases > 0 for v in report.verdicts)
            table.add_row(target, budget, f"{seconds:.1f}", str(judged), str(report.conforms))
    return table


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

    oracle.Bench = Clocked  # type: ignore[misc]  # the judge's own bench is clocked too
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
