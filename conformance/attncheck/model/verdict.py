"""A verdict: what one check says of one target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attncheck.model.finding import Finding

Outcome = Literal["passed", "failed", "errored", "skipped", "deviates", "known"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "errored", "skipped", "deviates", "known")

Family = Literal["shape", "law", "value", "gradient", "hygiene", "mode"]
FAMILIES: tuple[Family, ...] = ("shape", "law", "value", "gradient", "hygiene", "mode")


@dataclass(frozen=True)
class Verdict:
    """`skipped`, `errored`, `deviates` and `known` always carry a reason.

    `planned` counts the cases the budget asked for, `cases` those that were judged.
    """

    check: str
    family: Family
    outcome: Outcome
    cases: int = 0
    planned: int = 0
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """As it stands in a report."""
        return {
            "kind": "verdict",
            "check": self.check,
            "family": self.family,
            "outcome": self.outcome,
            "cases": self.cases,
            "planned": self.planned,
            "reason": self.reason,
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": round(self.seconds, 4),
        }

    @staticmethod
    def from_json(data: Mapping[str, object]) -> "Verdict":
        """The verdict that `to_json` wrote."""
        fields = {k: v for k, v in data.items() if k not in ("kind", "findings")}
        findings = tuple(Finding.from_json(f) for f in data["findings"])  # type: ignore[attr-defined]  # by schema
        return Verdict(findings=findings, **fields)  # type: ignore[arg-type]  # checked by the report's schema
