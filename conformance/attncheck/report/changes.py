"""What changed between two sets of reports, verdict by verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from attncheck.engine.matrix import Judged
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


def changed_cells(old: Sequence[Judged], new: Sequence[Judged]) -> list[Change]:
    """The changed verdicts of two matrices; where one side has no report, what became of the target."""
    before, after = ({each.record.id: each for each in side} for side in (old, new))
    found: list[Change] = []
    for cell in [*after, *(cell for cell in before if cell not in after)]:
        found += _changed_cell(before.get(cell), after.get(cell))
    return found


def _changed_cell(old: Judged | None, new: Judged | None) -> list[Change]:
    known = new or old
    assert known is not None, "a cell is in at least one matrix"
    record = known.record
    if old and new and old.report and new.report:
        pairs = ({v.check: v.outcome for v in each.report.verdicts} for each in (old, new) if each.report)
        before, after = pairs
        return [
            Change(
                record.target,
                new.report.header.mechanism,
                check,
                before.get(check, ABSENT),
                after.get(check, ABSENT),
            )
            for check in dict.fromkeys([*after, *before])
            if before.get(check) != after.get(check)
        ]
    was, now = (each.record.outcome if each else ABSENT for each in (old, new))
    if was == now:
        return []
    return [Change(record.target, record.mechanism or "unknown", "the target", was, now)]
