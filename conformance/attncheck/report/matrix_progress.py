"""Progress of a matrix: a line for each cell that is done, and on a terminal a bar with the time left."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from attncheck.engine.matrix import Judged, Progress


class MatrixProgress:
    """Called with each step; used as a context, so that the bar goes away."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("")

    def __enter__(self) -> "MatrixProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.last is not None:
            self._console.print(cell_line(progress), markup=False)
        words = " · ".join(
            [*([f"{time_words(progress.left)} left"] if progress.left else []), *progress.running]
        )
        self._bar.update(self._task, completed=progress.done, total=progress.planned, description=words)


def cell_line(progress: Progress) -> str:
    """The cell that is done, how far the matrix is, and the time left."""
    assert progress.last is not None, "a line is about a cell"
    record = progress.last.record
    line = f"{progress.done}/{progress.planned} {record.target}: {record.outcome} ({record.seconds:.0f} s)"
    return line if not progress.left else f"{line}, {time_words(progress.left)} left"


def time_words(seconds: float) -> str:
    """Seconds, or minutes from two on."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


_JUDGED = ("conforms", "findings")


def summary(judged: Sequence[Judged]) -> str:
    """How many cells ended how, and how many of them needed an adapter that a person wrote."""
    records = [each.record for each in judged]
    counts = Counter(record.outcome for record in records)
    whole = [record for record in records if record.outcome in _JUDGED]
    found = sum(record.adapter is None for record in whole)
    rows = [
        ("judged without a written adapter", found),
        ("judged with one", len(whole) - found),
        ("judged in part, or not", len(records) - len(whole)),
    ]
    head = f"{len(records)} targets: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
    lines = [f"  {label:<34}{n:>4}{n / max(len(records), 1):>8.1%}" for label, n in rows]
    return "\n".join([head, *lines])
