"""The console: serves a person with one mistake, and says how far the rest was looked at."""

import os
import textwrap
from collections.abc import Mapping
from typing import IO, Literal

import rich.console
from rich.text import Text

from attncheck.engine.events import ConventionsFound, Event, RunFinished, RunStarted
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict
from attncheck.report.causes import Cause, causes, script_of
from attncheck.report.wording import (
    QUESTIONS,
    conclusion,
    coverage_lines,
    family_rows,
    finding_rows,
    in_a_line,
    printable,
)

_LABEL = 12
_STYLES = {"failed": "bold red", "errored": "yellow", "passed": "green", "deviates": "cyan", "known": "cyan"}


class Terminal(rich.console.Console):
    """Rich's console, except that a reader who goes away is an exception and not an exit code."""

    def __init__(self, file: IO[str] | None = None) -> None:
        # Under NO_COLOR rich still writes bold and dim; a person who asks for none means none.
        system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
        super().__init__(
            file=file, color_system=system, highlight=False, soft_wrap=True, markup=False, emoji=False
        )

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Console:
    """Tells of a run: at once how the target was understood, at the end what was found.

    `saved` is the file that --report writes; `claims` are shown, check by check, if given.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        saved: str | None = None,
        quiet: bool = False,
        claims: Mapping[str, str] | None = None,
    ) -> None:
        self.terminal = terminal
        self.saved, self.quiet, self.claims = saved, quiet, claims

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted(header=header) if not self.quiet:
                self._header(header)
            case ConventionsFound(conventions=conventions) if not self.quiet:
                self._conventions(conventions)
            case RunFinished(report=report):
                self._report(report)

    def _header(self, header: Header) -> None:
        self._row("target", header.target, "bold")
        self._row("mechanism", header.mechanism)
        for index, line in enumerate(header.adapter):
            self._row("" if index else "assumed", line)
        versions = [f"{name} {version}" for name, version in header.versions.items()]
        conditions = [f"seed {header.seed}", f"budget {header.budget}", header.device, *header.dtypes]
        self._row("run", " · ".join([*conditions, *versions]))

    def _conventions(self, conventions: Mapping[str, str]) -> None:
        for index, (name, option) in enumerate(conventions.items()):
            self._row("" if index else "conventions", f"{name.replace('_', ' ')}: {option}")

    def _report(self, report: Report) -> None:
        if not self.quiet:
            if self.claims is not None:
                self._checks(report, self.claims)
            # One script shows the mistake; those of other causes are in the saved report.
            unshown = True
            for cause in causes(report):
                self._cause(cause)
                script = script_of(cause) if unshown else None
                if script:
                    unshown = False
                    self._script(script)
            self._line("")
            for family, right, counts in family_rows(report):
                mark, style = ("✓", "") if right else ("✗", "red")
                self._line(f"{mark} {QUESTIONS[family]:<20} {counts}", style)
            for index, line in enumerate(coverage_lines(report)):
                self._row("" if index else "coverage", line)
        style = {0: "bold green", 1: "bold red"}.get(report.exit_code, "bold yellow")
        prefix = f"{report.header.target} " if self.quiet else ""
        self._line(prefix + conclusion(report, self.saved), style)

    def _checks(self, report: Report, claims: Mapping[str, str]) -> None:
        self._line("")
        for verdict in report.verdicts:
            said = claims.get(verdict.check, "")
            reason = f" ({verdict.reason})" if verdict.reason else ""
            text = f"{verdict.outcome:<8}  {verdict.check}: {said}, {_cases(verdict)}{reason}"
            self._line(text, _STYLES.get(verdict.outcome, "dim"))

    def _cause(self, cause: Cause) -> None:
        self._line("")
        kinds = ", ".join(dict.fromkeys(f.kind for f in cause.first.findings))
        self._line(f"✗ {cause.first.check}" + (f": {kinds}" if kinds else ""), "bold red")
        for finding in cause.first.findings:
            for label, text in finding_rows(finding):
                self._row(label, text)
        if not cause.first.findings:
            self._row("reason", cause.first.reason)
        for index, verdict in enumerate(cause.same_likely):
            self._row("" if index else "same cause likely", in_a_line(verdict))

    def _script(self, script: str) -> None:
        """The source without an indent, so that it can be copied and run."""
        self._row("script", "run this to see it")
        self._line("")
        for line in script.rstrip().split("\n"):
            self._line(line)

    def _row(self, label: str, text: str, style: str = "") -> None:
        """A labelled paragraph; on a terminal its lines hang under the first."""
        indent = " " * (_LABEL + 2)
        head = f"  {label:<{_LABEL}}"
        if len(label) > _LABEL:
            self._line(f"  {label}", "dim")
            head = indent
        width = max(self.terminal.width - len(indent), 30)
        for index, line in enumerate(self._lines(text, width)):
            start = Text(head if index == 0 else indent, style="dim")
            self.terminal.print(start.append(Text(line, style=style or "not dim")), style="none")

    def _lines(self, text: str, width: int) -> list[str]:
        text = printable(text)
        if not self.terminal.is_terminal:
            return text.split("\n")
        return [part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""]]

    def _line(self, text: str, style: str = "") -> None:
        self.terminal.print(Text(printable(text), style=style))


def _cases(verdict: Verdict) -> str:
    return f"{verdict.cases} of {verdict.planned} cases" if verdict.planned else "no cases"
