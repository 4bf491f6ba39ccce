"""Reports as JSON lines: written while a run goes on, so that a cut-off run has no footer."""

import json
from pathlib import Path
from typing import IO

from attncheck.engine.events import CheckFinished, ConventionsFound, Event, RunFinished, RunStarted
from attncheck.model.errors import UsageError
from attncheck.model.report import Report, ReportError, parse


class JsonLines:
    """Writes each line as soon as it is known; several runs follow each other in one file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._conventions = False
        self._told: set[str] = set()

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(header=header):
                self._conventions, self._told = False, set()
                self._write(header.to_json())
            case ConventionsFound(conventions=conventions):
                self._conventions = True
                self._write({"kind": "conventions", **conventions})
            case CheckFinished(verdict=verdict):
                self._told.add(verdict.check)
                self._write(verdict.to_json())
            case RunFinished(report=report):
                self._finish(report)

    def _finish(self, report: Report) -> None:
        if not self._conventions:
            self._write({"kind": "conventions", **report.conventions})
        # A check that was never begun has a verdict too, such as one that was blocked.
        for verdict in report.verdicts:
            if verdict.check not in self._told:
                self._write(verdict.to_json())
        self._write(report.footer())

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def load(path: str) -> list[Report]:
    """The reports of a file. Raises UsageError if it cannot be read or holds no report."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            reports = parse(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"cannot read the report {path}: {reason}") from None
    except (ReportError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if not reports:
        raise UsageError(f"{path}: the file is empty; expected a report that --report wrote")
    return reports
