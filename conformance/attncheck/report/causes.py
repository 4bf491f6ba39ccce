"""Which finding to tell first, and which others it probably explains."""

from dataclasses import dataclass

from attncheck.model.report import Report
from attncheck.model.verdict import Family, Verdict

# A broken law says what is wrong without a second implementation; a wrong value only that it is.
_SPECIFIC_FIRST: tuple[Family, ...] = ("law", "shape", "value", "gradient", "mode", "hygiene")
# Where the target cannot run, whatever else fails says only that again.
_BASIC_FIRST: tuple[Family, ...] = ("shape", "law", "value", "gradient", "mode", "hygiene")


@dataclass(frozen=True)
class Cause:
    """A verdict that is told in full, and those that it probably explains."""

    first: Verdict
    same_likely: tuple[Verdict, ...] = ()


def cannot_run(report: Report) -> bool:
    """Whether a broken basic check kept others from being judged."""
    basics = any(v.family == "shape" for v in report.failed)
    blocked = any(v.outcome == "errored" for v in report.verdicts)
    judged = any(v.outcome == "passed" and v.family != "shape" for v in report.verdicts)
    return basics and (blocked or not judged)


def most_specific_first(report: Report) -> tuple[Verdict, ...]:
    """The failed verdicts; those whose mistake has a name come first within their family."""
    families = _BASIC_FIRST if cannot_run(report) else _SPECIFIC_FIRST
    return tuple(sorted(report.failed, key=lambda v: (families.index(v.family), _defect(v) is None)))


def causes(report: Report) -> tuple[Cause, ...]:
    """The failed verdicts, grouped by what probably causes them.

    A named mistake is a cause of its own, and so is bad hygiene, which breaks no mathematics.
    """
    groups: list[tuple[Verdict, list[Verdict]]] = []
    for verdict in most_specific_first(report):
        home = next((g for g in groups if _probably_same(g[0], verdict)), None)
        if home is None:
            groups.append((verdict, []))
        else:
            home[1].append(verdict)
    return tuple(Cause(first, tuple(others)) for first, others in groups)


def script_of(cause: Cause) -> str | None:
    """The first script that shows a cause, by its own finding or by one that it explains."""
    verdicts = (cause.first, *cause.same_likely)
    return next((f.script for verdict in verdicts for f in verdict.findings if f.script), None)


def _probably_same(first: Verdict, other: Verdict) -> bool:
    if _defect(other) is not None and _defect(first) is not None:
        return _defect(other) == _defect(first)
    return (other.family == "hygiene") == (first.family == "hygiene")


def _defect(verdict: Verdict) -> str | None:
    return next((f.defect for f in verdict.findings if f.defect), None)
