"""What changed between two sets of reports, verdict by verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from attncheck.model.report import Report

ABSENT = "absent"


@dataclass(frozen=True)
class Change:
    """One verdict that is not what it was; `absent` stands for a check that was not in a report."""

    target: str
    mechanism: str
    check: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.target} · {self.mechanism} · {self.check}: {self.before} → {self.after}"


def changes(old: Sequence[Report], new: Sequence[Report]) -> list[Change]:
    """The changed verdicts, in the order of the new reports, then of those that went."""
    before, after = _outcomes(old), _outcomes(new)
    keys = [*after, *(key for key in before if key not in after)]
    return [
        Change(*key, before.get(key, ABSENT), after.get(key, ABSENT))
        for key in keys
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


def _outcomes(reports: Sequence[Report]) -> dict[tuple[str, str, str], str]:
    # Of several runs of one target the last one counts.
    return {
        (report.header.target, report.header.mechanism, verdict.check): verdict.outcome
        for report in reports
        for verdict in report.verdicts
    }
