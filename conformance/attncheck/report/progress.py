"""A bar that shows how far a run is; it goes away when the run ends."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from attncheck.engine.events import CheckFinished, CheckStarted, Event, Explaining, RunFinished, RunStarted


class ProgressBar:
    """Shown on a terminal; in a pipe it writes nothing."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(checks=checks):
                self.close()
                self._task = self._progress.add_task("", total=len(checks))
                self._progress.start()
            case CheckStarted(check=check):
                self._show(check)
            case Explaining(check=check, step=step):
                self._show(f"{check}: {step}")
            case CheckFinished() if self._task is not None:
                self._progress.advance(self._task)
            case RunFinished():
                self.close()

    def close(self) -> None:
        """Take the bar away, also when a run ends early."""
        self._progress.stop()
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def _show(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, description=text)
