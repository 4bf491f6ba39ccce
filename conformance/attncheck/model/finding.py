"""A finding: evidence that a claim is broken."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from attncheck.model.case import Case


@dataclass(frozen=True)
class Finding:
    """What was claimed, what was expected, what came, and the case that shows it.

    `gap` is the largest error; infinite where nothing can be compared. `sizes` is the predicate
    of sizes under which it fails, `within` the options for which alone that was asked, `defect`
    the id of the known mistake, `script` a reproducer.
    """

    check: str
    claim: str
    expected: str
    actual: str
    case: Case
    gap: float = float("inf")
    kind: str = "wrong values"
    sizes: str | None = None
    within: str | None = None
    defect: str | None = None
    advice: str | None = None
    script: str | None = None

    def explained(self, **facts: str | None) -> "Finding":
        """The finding with what a diagnosis added."""
        return replace(self, **facts)  # type: ignore[arg-type]  # every fact is a text field

    def to_json(self) -> dict[str, object]:
        """As it stands in a report."""
        facts = {
            "check": self.check,
            "claim": self.claim,
            "expected": self.expected,
            "actual": self.actual,
            "case": self.case.to_json(),
            # JSON has no infinity: a gap that is not there means that nothing could be compared.
            "gap": self.gap if math.isfinite(self.gap) else None,
            "kind": self.kind,
            "sizes": self.sizes,
            "within": self.within,
            "defect": self.defect,
            "advice": self.advice,
            "script": self.script,
        }
        return {name: value for name, value in facts.items() if value is not None}

    @staticmethod
    def from_json(data: Mapping[str, object]) -> "Finding":
        """The finding that `to_json` wrote."""
        fields = {k: v for k, v in data.items() if k != "case"}
        case = Case.from_json(data["case"])  # type: ignore[arg-type]  # checked by the report's schema
        return Finding(case=case, **fields)  # type: ignore[arg-type]  # checked by the report's schema
