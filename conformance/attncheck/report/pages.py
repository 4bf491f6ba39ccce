"""Pages of `attncheck show` and `attncheck shapes`: what is known of a mechanism, a check or a defect."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from attncheck.checks import Check
from attncheck.model.case import Scalar
from attncheck.model.convention import CONVENTIONS
from attncheck.shapes.table import UNKNOWN, Row, arguments, axes_of, resolve, table
from attnref import Mechanism
from attnref.axes import BY_NAME


def columns(rows: Iterable[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows of equal length as aligned text."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def shapes_page(mechanism: Mechanism, given: Mapping[str, Scalar]) -> list[str]:
    """Inputs, parameters and outputs, and what the axes in them are called."""
    rows = table(mechanism, given)
    lines = [f"{mechanism.id}: {mechanism.title}"]
    for role in ("input", "parameter", "output"):
        lines += _section(f"{role}s", ((r.name, r.kind, r.shape, _notes(r)) for r in rows if r.role == role))
    if any(UNKNOWN in form for row in rows for form in row.forms):
        lines += ["", f"  {UNKNOWN}  give the constructor's sizes to see this one"]
    lines += _section("axes, symbolic", ((axis, BY_NAME[axis].meaning) for axis in axes_of(rows)))
    followed = {n: v for n, v in resolve(mechanism, given).items() if n not in given}
    return lines + _section("not given, so", ((name, f"= {value}") for name, value in followed.items()))


def mechanism_page(mechanism: Mechanism, defects: Sequence[object]) -> list[str]:
    """Formula, constructor, shapes, options, laws, conventions, known mistakes, source."""
    contract = mechanism.contract
    known = {convention.id: convention for convention in CONVENTIONS}
    lines = [*shapes_page(mechanism, {}), "", "formula", f"  {mechanism.formula}"]
    lines += _section(
        "constructor",
        ((a.name, f"default {a.default}" if a.default != "required" else a.default, a.meaning,
          "; ".join(a.conditions)) for a in arguments(mechanism)),
    )  # fmt: skip
    lines += _section("defined where", ((rule.holds, rule.because) for rule in contract.rules))
    lines += _section(
        "options", ((o.name, ", ".join(map(str, o.values)), o.meaning) for o in contract.options)
    )
    lines += _section("variants", ((v.id, v.meaning, f"used by {v.used_by}") for v in contract.variants))
    lines += _section("laws", ((law.id, f"when {law.when}" if law.when else "") for law in contract.laws))
    lines += _section("no laws here", ((broken.law.id, broken.because) for broken in contract.broken_laws))
    lines += _section(
        "conventions", ((name, ", ".join(known[name].options)) for name in contract.conventions)
    )
    mine = [d for d in defects if getattr(d, "mechanism", None) == mechanism.id]
    lines += _section("known mistakes", ((str(getattr(d, "id", "")), summary(d)) for d in mine))
    if mechanism.differs_from:
        lines += ["", "differs from", f"  {mechanism.differs_from}"]
    return lines + _section("source", ((cite.title, cite.where, cite.url) for cite in mechanism.cite))


def check_page(check: Check, mechanisms: Sequence[Mechanism], defects: Sequence[object]) -> list[str]:
    """Claim, family, explanation, and where it is a law."""
    lines = [f"{check.id}: {check.claim}", "", f"  {check.doc}", "", f"  family {check.family}"]
    holds = [m.id for m in mechanisms if any(law.id == check.id for law in m.contract.laws)]
    lines += _section("a law of", ((name,) for name in holds))
    broken = ((m.id, b.because) for m in mechanisms for b in m.contract.broken_laws if b.law.id == check.id)
    lines += _section("no law of", broken)
    found = [d for d in defects if check.id in tuple(getattr(d, "found_by", ()))]
    return lines + _section("mistakes it finds", ((str(getattr(d, "id", "")), summary(d)) for d in found))


def defect_page(defect: object) -> list[str]:
    """Everything that is written down of a known mistake, but its code."""
    assert dataclasses.is_dataclass(defect), "a defect is plain data"
    fields = {f.name: getattr(defect, f.name) for f in dataclasses.fields(defect)}
    said = [(name.replace("_", " "), _said(value)) for name, value in fields.items()]
    return [f"{fields['id']}: {summary(defect)}", "", *columns((n, text) for n, text in said if text)]


def summary(defect: object) -> str:
    """What a known mistake does, in a line."""
    return next(
        (
            str(text)
            for name in ("mistake", "meaning", "title", "claim")
            if (text := getattr(defect, name, ""))
        ),
        "",
    )


def _said(value: object) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={v}" for k, v in value.items())
    if isinstance(value, tuple):
        return ", ".join(_said(item) for item in value)
    if dataclasses.is_dataclass(value):
        return " · ".join(str(v) for v in vars(value).values() if isinstance(v, str) and v)
    return ""


def _section(title: str, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = columns(rows)
    return ["", title, *lines] if lines else []


def _notes(row: Row) -> str:
    notes = ["optional"] if row.optional else []
    return "; ".join([*notes, "an axis may be 1"] if row.broadcasts else notes)
