"""Prints what the self-test costs: computing seconds by mechanism for mistakes, and for what is right.

Run it as `python tests/benchmarks/selftest.py`, or name mechanisms. One process, one thread, seed 0.
Seconds are of the processor's time. They grow where others use the same cores: on two cores with some
four other processes waiting, seed 0 at the default budget took 267 s with 70 right ones before tensors
were shared and 202 s after, 255 s by the clock. All mistakes under 20 seeds took 227 s, 564 s by the clock.
Since then both have grown: `attncheck selftest --seeds 20 --jobs 2` took 6172 s with 544 mistakes and 82 right ones,
3456 s by the clock, some of it beside other work; with wide and long cases and 571 mistakes 7761 s, 3910 s by the
clock; with 575 mistakes and another machine 5287 s, 2782 s by the clock. The aim of 60 s by the clock for a seed was
not reached: nine tenths of it go into what is right, which sees every case of every check.
"""

import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from attncheck.engine.request import BUDGETS
from attncheck.engine.score import Score
from attncheck.engine.selftest import selftest
from attnref import MECHANISMS


def costs(names: Sequence[str]) -> Table:
    """One row a mechanism and budget: totals, means, and the dearest of both kinds."""
    table = Table("mechanism", "budget", "mistakes", "seconds", "dearest", "right", "seconds", "dearest")
    for name in names:
        for budget in BUDGETS[:2]:
            table.add_row(name, budget, *_cells(selftest(budget, (0,), (name,), jobs=1)))
    return table


def _cells(score: Score) -> list[str]:
    cells = []
    for items in (score.trials, score.right):
        dearest = max(items, key=lambda item: item.seconds)
        name = getattr(dearest, "defect", "") or getattr(dearest, "name", "")
        cells += [str(len(items)), f"{sum(i.seconds for i in items):.1f}", f"{name} {dearest.seconds:.1f}"]
    return cells


def main() -> None:
    """Print the table, for all mechanisms unless some are named."""
    torch.set_num_threads(1)
    Console().print(costs(sys.argv[1:] or [mechanism.id for mechanism in MECHANISMS]))


if __name__ == "__main__":
    main()
