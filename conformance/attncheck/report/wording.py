"""What a report says, in words: findings, families, coverage and conclusion, as plain text."""

from collections import defaultdict
from collections.abc import Iterable

from attncheck.model.finding import Finding
from attncheck.model.report import Report
from attncheck.model.verdict import FAMILIES, Family, Outcome, Verdict
from attncheck.report.commands import repeat

QUESTIONS: dict[Family, str] = {
    "shape": "shapes right?",
    "law": "laws hold?",
    "value": "values right?",
    "gradient": "gradients right?",
    "hygiene": "leaves no mess?",
    "mode": "same in every mode?",
}
_WORDS: dict[Outcome, str] = {
    "passed": "passed",
    "failed": "failed",
    "errored": "could not be judged",
    "skipped": "skipped",
    "deviates": "deviate",
    "known": "known to fail",
}
_FEW = 6


def printable(text: str) -> str:
    """The text without control characters: a target's own words may carry them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def finding_rows(finding: Finding) -> list[tuple[str, str]]:
    """A finding as labelled lines."""
    rows = [
        ("claim", finding.claim),
        ("expected", finding.expected),
        ("actual", finding.actual),
        ("smallest", str(finding.case)),
        ("fails", _where(finding)),
        ("mistake", f"{finding.defect} (attncheck show {finding.defect})" if finding.defect else None),
        ("advice", finding.advice),
    ]
    return [(label, printable(text)) for label, text in rows if text]


def _where(finding: Finding) -> str | None:
    """At which sizes it fails, if few words say it."""
    where = f"where {finding.sizes}" if finding.sizes not in (None, "always") else finding.sizes
    return f"{where}, with {finding.within}" if where and finding.within else where


def finding_text(verdict: Verdict) -> str:
    """A failed verdict as a block of lines."""
    blocks = []
    for finding in verdict.findings:
        rows = "\n".join(f"  {label:<9} {text}" for label, text in finding_rows(finding))
        blocks.append(f"{verdict.check}: {finding.kind}\n{rows}")
    return "\n".join(blocks) or printable(f"{verdict.check}: {verdict.reason or 'failed'}")


def in_a_line(verdict: Verdict) -> str:
    """A failed verdict in one line."""
    if not verdict.findings:
        return printable(f"{verdict.check}: {verdict.reason or 'failed'}")
    finding = verdict.findings[0]
    return printable(f"{verdict.check}: {finding.claim} ({finding.actual})").replace("\n", " ")


def family_rows(report: Report) -> list[tuple[Family, bool, str]]:
    """For each family that has verdicts: whether nothing failed, and the counts in words."""
    rows = []
    for family in FAMILIES:
        verdicts = [v for v in report.verdicts if v.family == family]
        if verdicts:
            rows.append((family, all(v.outcome != "failed" for v in verdicts), _counts(verdicts)))
    return rows


def coverage_lines(report: Report) -> list[str]:
    """How much was planned, how much ran, and why the rest did not."""
    ran = [v for v in report.verdicts if v.outcome not in ("skipped", "errored")]
    cases = sum(v.cases for v in ran)
    lines = [f"{len(report.verdicts)} checks planned, {len(ran)} judged on {cases} cases"]
    for outcome in ("errored", "skipped"):
        for reason, names in _by_reason(v for v in report.verdicts if v.outcome == outcome):
            lines.append(f"{len(names)} {_WORDS[outcome]}: {reason} ({_listed(names)})")
    for verdict in report.verdicts:
        if verdict.outcome in ("deviates", "known"):
            word = "deviates" if verdict.outcome == "deviates" else "known to fail"
            lines.append(printable(f"{verdict.check} {word}: {verdict.reason}"))
    return lines


def outcome(report: Report) -> str:
    """The outcome of a report in two or three words."""
    if not report.complete and not report.failed:
        return "cut off"
    if report.exit_code == 3:
        return "judged in part" if report.conforms else "not judged"
    return "conforms" if report.exit_code == 0 else "does not conform"


def conclusion(report: Report, saved: str | None = None) -> str:
    """The last line: the outcome, the counts, and what to type next."""
    counts = _counts(report.verdicts) or "no check was run"
    return f"{outcome(report)}: {counts} · again: {repeat(report, saved)}"


def _counts(verdicts: Iterable[Verdict]) -> str:
    verdicts = list(verdicts)
    seen = {outcome: sum(v.outcome == outcome for v in verdicts) for outcome in _WORDS}
    order: tuple[Outcome, ...] = ("failed", "passed", "deviates", "known", "errored", "skipped")
    return ", ".join(f"{seen[o]} {_WORDS[o]}" for o in order if seen[o])


def _by_reason(verdicts: Iterable[Verdict]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        # "x is no law of cross" is one reason for many checks, once their own names are taken out.
        reason = verdict.reason.removeprefix(f"{verdict.check} is ")
        groups[printable(reason) or "no reason given"].append(verdict.check)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_FEW])
    return shown if len(names) <= _FEW else f"{shown} and {len(names) - _FEW} more"
