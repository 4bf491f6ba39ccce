"""A file of known deviations: findings that it lists do not count, and entries that no longer fail do."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from attncheck.model.case import Case
from attncheck.model.errors import UsageError
from attncheck.model.finding import Finding
from attncheck.model.report import Report
from attncheck.model.verdict import Verdict

# What stands where a person has to say why; a file that still has it is refused.
UNSAID = "say why, in a sentence"

_HEAD = "# Findings that are known, each with its reason: attncheck run --known reads them.\n"

Entry = Mapping[str, str]


@dataclass
class KnownDeviations:
    """What a file says of one target. Each entry serves for one verdict; those left over are stale."""

    path: str = ""
    reasons: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(path: str | None, target: str) -> "KnownDeviations":
        """The entries of a target. Raises UsageError if there is no such file, or it is none."""
        if path is None:
            return KnownDeviations()
        mine = [entry for entry in read_known(path) if entry["target"] == target]
        return KnownDeviations(path, {entry["check"]: entry["reason"] for entry in mine})

    def settled(self, verdict: Verdict) -> Verdict:
        """The verdict that counts: a listed failure is known, and what is listed has to fail."""
        reason = self.reasons.pop(verdict.check, None)
        if reason is None:
            return verdict
        if verdict.outcome == "failed":
            return replace(verdict, outcome="known", reason=reason)
        return _stale(verdict.check, f"{verdict.outcome} now, though {self.path} says: {reason}")

    def unmet(self) -> list[Verdict]:
        """Failures for entries whose check was never judged."""
        return [_stale(check, f"{self.path} names a check that did not run") for check in self.reasons]


def _stale(check: str, what: str) -> Verdict:
    finding = Finding(
        check, "a known deviation still deviates", "a failure", what, Case({}), kind="stale entry"
    )
    return Verdict(check, "law", "failed", cases=1, planned=1, findings=(finding,))


def read_known(path: str) -> list[Entry]:
    """The entries of a file. Raises UsageError if it is none, or an entry lacks its reason."""
    entries = _entries(path)
    for entry in entries:
        if entry.get("reason") == UNSAID:
            raise UsageError(
                f"--known {path}: {entry.get('check')} of {entry.get('target')} still wants its reason; "
                f"write it in the place of {UNSAID!r}"
            )
    return entries


def _entries(path: str) -> list[Entry]:
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"--known {path}: there is no such file; --update-known writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--known {path}: {error}") from None
    entries = data.get("known", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"--known {path}: expected entries [[known]], got {entries!r}")
    for entry in entries:
        missing = [name for name in ("check", "target", "reason") if not entry.get(name)]
        if missing:
            raise UsageError(f"--known {path}: an entry lacks {', '.join(missing)}: {entry}")
    return list(entries)


def update_known(path: str, reports: Iterable[Report]) -> list[Entry]:
    """Write what failed into the file, and return its entries.

    Reasons that are there stay, findings that are gone go, and other targets are left alone.
    """
    before = _entries(path) if Path(path).exists() else []
    said = {(entry["target"], entry["check"]): entry for entry in before}
    judged = {report.header.target: report for report in reports}
    kept = [entry for entry in before if entry["target"] not in judged]
    seen = [(name, verdict.check) for name, report in judged.items() for verdict in report.failed]
    entries = [*kept, *(said.get(key, {"check": key[1], "target": key[0], "reason": UNSAID}) for key in seen)]
    Path(path).write_text(_HEAD + "".join(map(_written, entries)), encoding="utf-8")
    return entries


def _written(entry: Entry) -> str:
    # A JSON string is a TOML string too.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    return "\n".join(["\n[[known]]", *lines, ""])
