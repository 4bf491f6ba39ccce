"""What is done of a self-test, as lines of JSON: one that was cut off goes on where it ended."""

import hashlib
import json
from collections.abc import Hashable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import attncheck
import attnref
from attncheck.engine.score import Accusation, Acquittal, Trial
from attncheck.model.errors import UsageError

Done = tuple[tuple[Trial, ...], tuple[Acquittal, ...]]


@dataclass
class Record:
    """A file of what is done, in the order in which it was; `state` is of what it is true."""

    path: Path
    state: str
    done: dict[str, Done] = field(default_factory=dict)

    def get(self, job: Hashable) -> Done | None:
        """What became of a job, if it is done."""
        return self.done.get(str(job))

    def add(self, job: Hashable, done: Done) -> None:
        """Write down what became of a job, at once."""
        self.done[str(job)] = done
        trials, right = ([asdict(item) for item in items] for items in done)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"job": str(job), "trials": trials, "right": right}) + "\n")


def opened(path: Path, exhaustive: bool) -> Record:
    """The record in a file, begun if there is none.

    Raises UsageError if it tells of other sources than these: results of two states make no table.
    """
    state = f"{_digest()}{' exhaustive' * exhaustive}"
    record = Record(path, state)
    if not path.exists():
        path.write_text(json.dumps({"state": state}) + "\n", encoding="utf-8")
        return record
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        # The last line was cut off: what is added stands on lines of its own.
        path.write_text(text + "\n", encoding="utf-8")
    first, *lines = text.splitlines() or ["{}"]
    if json.loads(first).get("state") != state:
        raise UsageError(f"{path} was written by another state of the suite: remove it, or name another file")
    for line in lines:
        try:
            data = json.loads(line)
        except json.JSONDecodeError:
            continue  # the process ended while it wrote
        record.done[data["job"]] = _trials(data["trials"]), _right(data["right"])
    return record


def _trials(items: list[dict[str, object]]) -> tuple[Trial, ...]:
    made = []
    for item in items:
        killed_by = tuple((check, family) for check, family in item["killed_by"])  # type: ignore[attr-defined]  # our own format
        put = tuple((check, asked) for check, asked in item["put"])  # type: ignore[attr-defined]  # our own format
        lists = {"killed_by": killed_by, "broke": tuple(item["broke"]), "put": put}  # type: ignore[arg-type]  # our own format
        made.append(Trial(**{**item, **lists}))  # type: ignore[arg-type]  # our own format
    return tuple(made)


def _right(items: list[dict[str, object]]) -> tuple[Acquittal, ...]:
    made = []
    for item in items:
        accusations = tuple(Accusation(**a) for a in item["accusations"])  # type: ignore[attr-defined]  # our own format
        made.append(Acquittal(**{**item, "accusations": accusations}))  # type: ignore[arg-type]  # our own format
    return tuple(made)


def _digest() -> str:
    """A checksum of the sources of the suite and of the references."""
    digest = hashlib.sha256()
    for package in (attncheck, attnref):
        for source in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
