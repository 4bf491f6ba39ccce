"""Command lines that a reader of a report can type."""

import shlex
from collections.abc import Mapping

from attncheck.model.report import Header, Report


def again(header: Header, checks: tuple[str, ...] = ()) -> str:
    """The command that repeats a run, or only some checks of it, with the same seed."""
    asked = header.invocation
    words = ["attncheck", "run", header.target, "--mechanism", header.mechanism]
    for option, field in (("--init", "init"), ("--expect", "expect")):
        for name, value in _pairs(asked.get(field)):
            words += [option, f"{name}={value}"]
    for option, field in (("--adapter", "adapter"), ("--known", "known")):
        if asked.get(field):
            words += [option, str(asked[field])]
    if header.device != "cpu":
        words += ["--device", header.device]
    for dtype in _texts(asked.get("dtypes")):
        words += ["--dtype", dtype]
    for check in checks:
        words += ["--check", check]
    if header.budget != "default":
        words += ["--budget", header.budget]
    if asked.get("strict"):
        words.append("--strict")
    return shlex.join([*words, "--seed", str(header.seed)])


def repeat(report: Report, saved: str | None = None) -> str:
    """What to type after reading a report: replay its findings, or run the same again."""
    if report.failed and saved:
        return shlex.join(["attncheck", "replay", saved])
    return again(report.header, tuple(v.check for v in report.failed[:1]))


def _pairs(value: object) -> list[tuple[str, str]]:
    return [(str(k), str(v)) for k, v in value.items()] if isinstance(value, Mapping) else []


def _texts(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else []
