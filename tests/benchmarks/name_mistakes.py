"""Prints how many mistakes in other words get their names: `name_mistakes.py`, or some mechanisms.

The classes are those of `tests/conformance/diagnosis/rewritten`, each opened, searched, judged and named
as a run with the budget quick does it, and with the default one where that finds nothing. An equal
name is that of a mistake which gives the same answers; a wrong one is that of any other.
"""

import inspect
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from attncheck.defects import DEFECTS
from attncheck.targets.loading import load

_TEST = Path(__file__).parents[1] / "conformance/diagnosis/test_rewritten.py"


def table(mechanisms: Sequence[str], console: Console) -> Table:
    """One row a mechanism; what is not named right is printed on the way."""
    test: Any = inspect.getmodule(load(f"{_TEST}:names_told"))
    made = Table("mechanism", "known", "re-written", "right", "equal", "unknown", "wrong", "seconds")
    total: Counter[str] = Counter()
    for mechanism in mechanisms or test.FILES:
        counts: Counter[str] = Counter(known=sum(d.mechanism == mechanism for d in DEFECTS))
        began = time.process_time()
        for mistake in test.rewritten(mechanism).MISTAKES:
            given = test.names_told(test.opened(mechanism, mistake))
            own = f"{mechanism}.{mistake}"
            kinds = {(own,): "right", (test.ALIKE.get(own),): "equal", (): "unknown"}
            counts.update(["made", kinds.get(given, "wrong")])
            if kinds.get(given) != "right":
                console.print(f"{own}: {' and '.join(given) or 'unknown'}")
        made.add_row(mechanism, *_cells(counts), f"{time.process_time() - began:.0f}")
        total += counts
    made.add_row("all", *_cells(total), "")
    return made


def _cells(counts: Counter[str]) -> list[str]:
    return [str(counts[kind]) for kind in ("known", "made", "right", "equal", "unknown", "wrong")]


def main() -> None:
    """Print the table, for all mechanisms unless some are named."""
    torch.set_num_threads(1)
    console = Console()
    console.print(table(sys.argv[1:], console))


if __name__ == "__main__":
    main()
