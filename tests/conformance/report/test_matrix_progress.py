"""What a matrix prints at its end: outcomes, and how many targets needed an adapter that a person wrote."""

from dataclasses import replace

from attncheck.engine.matrix import Judged
from attncheck.model.cell import Cell, CellOutcome, Package, recorded
from attncheck.report.matrix_progress import summary


def ended(outcome: CellOutcome, adapter: str | None = None) -> Judged:
    cell = Cell(id="a", target="a:A", package=Package("a"))
    return Judged(replace(recorded(cell, outcome, ""), adapter=adapter), None)


def test_only_what_was_judged_whole_counts_as_judged() -> None:
    judged = [ended("conforms"), ended("findings"), ended("findings", "a.py:B"), ended("judged in part")]

    assert summary(judged).splitlines() == [
        "4 targets: 2 findings, 1 conforms, 1 judged in part",
        "  judged without a written adapter     2   50.0%",
        "  judged with one                      1   25.0%",
        "  judged in part, or not               1   25.0%",
    ]


def test_a_matrix_without_cells_has_a_summary() -> None:
    assert summary([]).startswith("0 targets: ")
