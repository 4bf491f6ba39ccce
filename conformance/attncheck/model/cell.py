"""A cell of the matrix: one target with where it comes from, and what became of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

CellOutcome = Literal[
    "conforms", "findings", "judged in part", "no adapter", "unusable", "not installed", "timed out"
]

# What the exit code of `attncheck run` means for a cell; 3 is "no adapter" only where nothing was judged.
_BY_EXIT: dict[int, CellOutcome] = {0: "conforms", 1: "findings", 2: "unusable", 3: "no adapter"}


@dataclass(frozen=True)
class Package:
    """Where a target comes from, and what it needs to run.

    `requirements` are installed without their dependencies unless `dependencies` says so.
    `prelude` is a file that runs when Python starts, for what must happen before an import.
    """

    name: str
    version: str = ""
    licence: str = ""
    requirements: tuple[str, ...] = ()
    dependencies: bool = False
    prelude: str | None = None


@dataclass(frozen=True)
class Cell:
    """One target, and how it is judged."""

    id: str
    target: str
    package: Package
    mechanism: str | None = None
    adapter: str | None = None
    init: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def fingerprint(self, *more: object) -> str:
        """Equal for cells that would be judged the same way."""
        text = json.dumps([asdict(self), *map(str, more)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Absent:
    """A target that cannot run, and why."""

    target: str
    package: str
    reason: str


@dataclass(frozen=True)
class Record:
    """What became of a cell. `preparing` and `seconds` are wall time, without and with the target."""

    id: str
    target: str
    package: str
    version: str
    licence: str
    mechanism: str | None
    adapter: str | None
    outcome: CellOutcome
    message: str = ""
    note: str = ""
    preparing: float = 0.0
    seconds: float = 0.0
    fingerprint: str = ""

    def to_json(self) -> dict[str, object]:
        """As it stands beside the cell's report."""
        return {"kind": "cell", **asdict(self)}

    @staticmethod
    def from_json(data: Mapping[str, object]) -> "Record":
        """The record that `to_json` wrote. Raises TypeError if a field is missing or unknown."""
        return Record(**{k: v for k, v in data.items() if k != "kind"})  # type: ignore[arg-type]  # by to_json


def recorded(cell: Cell, outcome: CellOutcome, fingerprint: str) -> Record:
    """The record of a cell that ended like this, without its times and message."""
    return Record(
        id=cell.id,
        target=cell.target,
        package=cell.package.name,
        version=cell.package.version,
        licence=cell.package.licence,
        mechanism=cell.mechanism,
        adapter=cell.adapter,
        outcome=outcome,
        note=cell.note,
        fingerprint=fingerprint,
    )


def outcome_of(exit_code: int) -> CellOutcome | None:
    """The outcome that an exit code of `attncheck run` stands for, None if it is none of its own."""
    return _BY_EXIT.get(exit_code)
