"""A report: header, conventions, verdicts, footer, as versioned JSON lines."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from attncheck.model.verdict import OUTCOMES, Verdict

SCHEMA = 1


class ReportError(ValueError):
    """A file that is not a report of attncheck."""


@dataclass(frozen=True)
class Header:
    """What was judged, how it was understood, and under which conditions."""

    target: str
    mechanism: str
    adapter: tuple[str, ...] = ()
    seed: int = 0
    budget: str = "default"
    device: str = "cpu"
    dtypes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    invocation: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """As it stands in a report."""
        return {"kind": "header", "schema": SCHEMA, **{k: _plain(v) for k, v in vars(self).items()}}


@dataclass(frozen=True)
class Report:
    """Everything one run says. `complete` is false for a file that was cut off."""

    header: Header
    conventions: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    complete: bool = True

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts that make the target not conform."""
        return tuple(v for v in self.verdicts if v.outcome == "failed")

    @property
    def counts(self) -> dict[str, int]:
        """How many checks ended in each outcome, zeros included."""
        seen = Counter(v.outcome for v in self.verdicts)
        return {outcome: seen[outcome] for outcome in OUTCOMES}

    @property
    def conforms(self) -> bool:
        """Whether the run is whole, judged something, and found nothing."""
        judged = sum(v.cases for v in self.verdicts if v.outcome in ("passed", "deviates", "known"))
        return self.complete and not self.failed and judged > 0

    @property
    def exit_code(self) -> int:
        """0 conforms, 1 findings, 3 the suite could not judge."""
        if self.failed:
            return 1
        unjudged = any(v.outcome == "errored" for v in self.verdicts)
        return 0 if self.conforms and not unjudged else 3

    def footer(self) -> dict[str, object]:
        """The last line of a whole report."""
        return {"kind": "footer", "complete": True, "conforms": self.conforms, "counts": self.counts}

    def lines(self) -> Iterable[str]:
        """The report as JSON lines."""
        yield json.dumps(self.header.to_json())
        yield json.dumps({"kind": "conventions", **self.conventions})
        for verdict in self.verdicts:
            yield json.dumps(verdict.to_json())
        if self.complete:
            yield json.dumps(self.footer())


def parse(lines: Iterable[str]) -> list[Report]:
    """The reports of a file; one without its footer comes back with `complete` false.

    Raises ReportError if a line is no JSON or belongs to no report.
    """
    reports: list[Report] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            kind = data["kind"]
        except (ValueError, KeyError, TypeError):
            raise ReportError(f"line {number} is not a line of a report of attncheck") from None
        if kind == "header":
            reports.append(Report(_header(data, number), complete=False))
        elif not reports:
            raise ReportError(f"line {number}: expected a header first, got {kind!r}")
        else:
            reports[-1] = _extended(reports[-1], data, kind, number)
    return reports


def _header(data: dict[str, object], number: int) -> Header:
    if data.get("schema") != SCHEMA:
        raise ReportError(f"line {number}: expected schema {SCHEMA}, got {data.get('schema')!r}")
    fields = {
        k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k not in ("kind", "schema")
    }
    return Header(**fields)  # type: ignore[arg-type]  # written by Header.to_json


def _extended(report: Report, data: dict[str, object], kind: str, number: int) -> Report:
    parts = {"header": report.header, "conventions": report.conventions, "verdicts": report.verdicts}
    complete = report.complete
    if kind == "verdict":
        parts["verdicts"] = (*report.verdicts, Verdict.from_json(data))
    elif kind == "conventions":
        parts["conventions"] = {k: v for k, v in data.items() if k != "kind"}
    elif kind == "footer":
        complete = bool(data["complete"])
    else:
        raise ReportError(f"line {number}: expected a verdict, conventions or a footer, got {kind!r}")
    return Report(complete=complete, **parts)  # type: ignore[arg-type]  # three fields of Report


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
