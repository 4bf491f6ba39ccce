"""Reads the file of the matrix: packages, the targets in them, and what cannot run."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from attncheck.model.cell import Absent, Cell, Package
from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean

_OF_A_PACKAGE = tuple(f.name for f in fields(Package) if f.name != "name")
_OF_A_TARGET = ("target", "package", "mechanism", "adapter", "init", "note", "id")
_OF_AN_ABSENT = ("target", "package", "reason")


@dataclass(frozen=True)
class TargetsFile:
    """The cells of a matrix in their order; paths in it are relative to `folder`."""

    folder: Path
    cells: tuple[Cell, ...]
    absent: tuple[Absent, ...]


def read(path: str) -> TargetsFile:
    """The file at `path`. Raises UsageError with the entry that is wrong."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from None
    _known(path, "the file", data, ("packages", "targets", "absent"))
    packages = {name: _package(path, name, entry) for name, entry in data.get("packages", {}).items()}
    cells = _distinct(path, [_cell(path, entry, packages) for entry in data.get("targets", [])])
    absent = tuple(_absent(path, entry) for entry in data.get("absent", []))
    if not cells:
        raise UsageError(f"{path}: expected [[targets]], found none")
    return TargetsFile(Path(path).resolve().parent, cells, absent)


def _package(path: str, name: str, entry: Mapping[str, Any]) -> Package:
    _known(path, f"package {name}", entry, _OF_A_PACKAGE)
    return Package(name, **{**entry, "requirements": tuple(entry.get("requirements", ()))})


def _cell(path: str, entry: Mapping[str, Any], packages: Mapping[str, Package]) -> Cell:
    where = f"target {entry.get('target', entry)}"
    _known(path, where, entry, _OF_A_TARGET)
    _required(path, where, entry, ("target",))
    name = entry.get("package", "")
    if name and name not in packages:
        raise UsageError(
            f"{path}: {where} names package {name!r}{did_you_mean(name, packages)}; add [packages.{name}]"
        )
    adapter = entry.get("adapter")
    return Cell(
        id=entry.get("id") or slug(adapter.partition(":")[2] if adapter else "", entry["target"]),
        target=entry["target"],
        package=packages.get(name, Package("")),
        mechanism=entry.get("mechanism"),
        adapter=adapter,
        init={k: str(v) for k, v in entry.get("init", {}).items()},
        note=entry.get("note", ""),
    )


def _absent(path: str, entry: Mapping[str, Any]) -> Absent:
    where = f"absent {entry.get('target', entry)}"
    _known(path, where, entry, _OF_AN_ABSENT)
    _required(path, where, entry, _OF_AN_ABSENT)
    return Absent(entry["target"], entry["package"], entry["reason"])


def slug(*parts: str) -> str:
    """A name for files and addresses, from the end of a path that tells targets apart."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(p for p in reversed(parts) if p)).strip("-").lower()


def _distinct(path: str, cells: Iterable[Cell]) -> tuple[Cell, ...]:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.id in seen:
            raise UsageError(f"{path}: two targets are called {cell.id!r}; give one an id of its own")
        seen[cell.id] = cell
    return tuple(seen.values())


def _known(path: str, where: str, entry: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in entry:
        if name not in names:
            raise UsageError(f"{path}: {where} has an unknown entry {name!r}{did_you_mean(name, names)}")


def _required(path: str, where: str, entry: Mapping[str, Any], names: Iterable[str]) -> None:
    missing = [name for name in names if not entry.get(name)]
    if missing:
        raise UsageError(f"{path}: {where} lacks {', '.join(missing)}")
