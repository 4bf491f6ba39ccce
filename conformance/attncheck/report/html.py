"""The site of a matrix: one table, a page a target, a page a defect, badges; each file stands alone."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from attncheck.checks import CHECKS
from attncheck.defects import DEFECTS
from attncheck.engine.matrix import Judged
from attncheck.model.cell import Absent
from attncheck.model.report import Report
from attncheck.model.verdict import FAMILIES, Family, Outcome, Verdict
from attncheck.report.causes import Cause, causes
from attncheck.report.commands import again
from attncheck.report.wording import QUESTIONS, finding_rows, in_a_line, outcome, printable

_TONES: dict[Outcome, str] = {
    "passed": "good", "failed": "bad", "errored": "doubt", "skipped": "none", "deviates": "doubt", "known": "doubt",
}  # fmt: skip
_SIGNS: dict[Outcome, str] = {
    "passed": "✓", "failed": "✗", "errored": "!", "skipped": "–", "deviates": "~", "known": "k",
}  # fmt: skip
_BY_EXIT = {0: "good", 1: "bad", 3: "doubt"}
_COLOURS = {"good": "#11632f", "bad": "#a3141c", "doubt": "#755200"}


@dataclass(frozen=True)
class Column:
    """What a row says in one column."""

    text: str
    tone: str
    sign: str = ""
    family: str = ""


@dataclass(frozen=True)
class Row:
    """A target in the table. `text` is what the search looks at."""

    id: str
    target: str
    package: str
    mechanism: str
    outcome: str
    tone: str
    text: str
    families: tuple[Column, ...]
    claims: tuple[Column, ...]


@dataclass(frozen=True)
class Met:
    """A known mistake, and the targets in which it was met."""

    id: str
    sentence: str
    mechanism: str
    shows: str
    cites: tuple[str, ...]
    met: tuple[Row, ...]


def write_site(out: Path, judged: Sequence[Judged], absent: Sequence[Absent]) -> None:
    """Write every page under `out`; pages of an earlier site are written over."""
    rows = [_row(each) for each in judged]
    defects = _defects(judged, rows)
    _write(
        out / "index.html", "index.html", "Attention conformance matrix", "", _index(rows, defects, absent)
    )
    for each, row in zip(judged, rows, strict=True):
        _write(out / "targets" / f"{row.id}.html", "target.html", row.target, "../", _target(each, row))
        _write(out / "badges" / f"{row.id}.svg", "badge.svg", row.target, "", _badge(row))
    for defect in defects:
        _write(out / "defects" / f"{defect.id}.html", "defect.html", defect.id, "../", {"defect": defect})


def write_page(reports: Sequence[Report], path: Path) -> None:
    """Write reports as one page that stands alone, for a person who judged a few targets."""
    title = ", ".join(report.header.target for report in reports) or "attncheck"
    targets = [
        {**_judged(report), "outcome": outcome(report), "tone": _BY_EXIT[report.exit_code]}
        for report in reports
    ]
    _write(path, "report.html", title, "", {"targets": targets, "tones": _TONES, "in_site": False})


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("attncheck.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _source(name: str) -> Markup:
    """A file of the templates as it stands: it is ours, and holds nothing of a target."""
    environment = _templates()
    assert environment.loader is not None, "templates come from this package"
    return Markup(environment.loader.get_source(environment, name)[0])


def _write(path: Path, template: str, title: str, root: str, facts: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    page = _templates().get_template(template)
    text = page.render(title=printable(title), root=root, css=_source("site.css"), **facts)
    path.write_text(text + "\n", encoding="utf-8")


def _index(rows: Sequence[Row], defects: Sequence[Met], absent: Sequence[Absent]) -> dict[str, object]:
    counts = Counter(row.outcome for row in rows)
    return {
        "rows": rows,
        "tally": ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()),
        "mechanisms": sorted({row.mechanism for row in rows}),
        "outcomes": sorted(counts),
        "families": [
            {"name": f, "question": QUESTIONS[f], "checks": [c for c in CHECKS if c.family == f]}
            for f in FAMILIES
        ],
        "defects": defects,
        "absent": absent,
        "script": _source("site.js"),
    }


def _row(each: Judged) -> Row:
    record, report = each.record, each.report
    result, tone = _outcome(each)
    verdicts = {v.check: v for v in report.verdicts} if report else {}
    package = f"{record.package} {record.version}".strip()
    mechanism = report.header.mechanism if report else record.mechanism or "unknown"
    met = sorted({f.defect for v in verdicts.values() for f in v.findings if f.defect})
    words = (
        record.target,
        package,
        mechanism,
        result,
        *met,
        *(v.check for v in verdicts.values() if v.outcome == "failed"),
    )
    return Row(
        id=record.id, target=record.target, package=package, mechanism=mechanism, outcome=result, tone=tone,
        text=" ".join(words).lower(),
        families=tuple(_family(report, family) for family in FAMILIES),
        claims=tuple(_claim(verdicts.get(c.id), f) for f in FAMILIES for c in CHECKS if c.family == f),
    )  # fmt: skip


def _outcome(each: Judged) -> tuple[str, str]:
    if each.record.outcome == "conforms":
        return "conforms", "good"
    return each.record.outcome, "bad" if each.record.outcome == "findings" else "doubt"


def _family(report: Report | None, family: Family) -> Column:
    counts = Counter(v.outcome for v in report.verdicts if v.family == family) if report else Counter()
    judged = sum(n for outcome, n in counts.items() if outcome not in ("skipped", "errored"))
    if not judged:
        return Column("not judged", "none")
    if counts["failed"]:
        return Column(f"{counts['failed']} of {judged} broken", "bad")
    return Column(f"yes, {judged}", "good")


def _claim(verdict: Verdict | None, family: str) -> Column:
    if verdict is None:
        return Column("not planned", "none", "", family)
    return Column(verdict.outcome, _TONES[verdict.outcome], _SIGNS[verdict.outcome], family)


def _target(each: Judged, row: Row) -> dict[str, object]:
    return {"row": row, "record": each.record, "tones": _TONES, "in_site": True, **_judged(each.report)}


def _judged(report: Report | None) -> dict[str, object]:
    """What the part of a page says that is about one report."""
    conventions = report.conventions.items() if report else ()
    return {
        "report": report,
        "causes": [_told(cause) for cause in causes(report)] if report else [],
        "conventions": [(n.replace("_", " "), str(o).replace("_", " ")) for n, o in conventions],
        "again": again(report.header) if report else "",
    }


def _told(cause: Cause) -> dict[str, object]:
    first = cause.first
    finding = first.findings[0] if first.findings else None
    rows = [(label, text) for label, text in finding_rows(finding) if label != "mistake"] if finding else []
    return {
        "check": first.check,
        "kind": printable(finding.kind) if finding else first.outcome,
        "rows": rows or [("actual", printable(first.reason))],
        "defect": finding.defect if finding else None,
        "script": printable(finding.script) if finding and finding.script else None,
        "same_likely": [in_a_line(v) for v in cause.same_likely],
    }


def _defects(judged: Sequence[Judged], rows: Sequence[Row]) -> list[Met]:
    """The known mistakes that were met, in the order of the catalogue."""
    met: dict[str, list[Row]] = {}
    for each, row in zip(judged, rows, strict=True):
        found = {
            f.defect for v in (each.report.verdicts if each.report else ()) for f in v.findings if f.defect
        }
        for name in found:
            met.setdefault(name, []).append(row)
    known = [
        Met(d.id, d.sentence, d.mechanism, d.shows, d.cites, tuple(met[d.id])) for d in DEFECTS if d.id in met
    ]
    rest = sorted(set(met) - {d.id for d in known})
    # A report may come from a version whose catalogue knew more.
    return known + [
        Met(name, "not in this catalogue", "unknown", "unknown", (), tuple(met[name])) for name in rest
    ]


def _badge(row: Row) -> dict[str, object]:
    # 6.6 units a letter is Verdana at 11, a little generous, so that a substitute font fits as well.
    return {
        "text": row.outcome,
        "left": 68,
        "right": round(6.6 * len(row.outcome)) + 14,
        "colour": _COLOURS[row.tone],
    }
