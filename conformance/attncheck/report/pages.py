"""Pages of `attncheck show` and `attncheck shapes`: what is known of a mechanism, a check or a defect."""

from collections.abc import Iterable, Mapping, Sequence

from attncheck.checks import Check
from attncheck.defects.defect import Defect
from attncheck.model.case import Scalar
from attncheck.model.convention import CONVENTIONS
from attncheck.shapes.flow import intermediates
from attncheck.shapes.flows import flow_of
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


def mechanism_page(mechanism: Mechanism, defects: Sequence[Defect]) -> list[str]:
    """Formula, constructor, shapes, options, laws, conventions, known mistakes, source."""
    contract = mechanism.contract
    known = {convention.id: convention for convention in CONVENTIONS}
    lines = [*shapes_page(mechanism, {}), "", "formula", f"  {mechanism.formula}"]
    flow = flow_of(mechanism)
    between = ((s.gives, f"({', '.join(flow.extents(s))})", s.does) for s in intermediates(flow))
    lines += _section("on the way, by default", between)
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
    mine = ((d.id, d.sentence) for d in defects if d.mechanism == mechanism.id)
    lines += _section("known mistakes", mine)
    if mechanism.differs_from:
        lines += ["", "differs from", f"  {mechanism.differs_from}"]
    return lines + _section("source", ((cite.title, cite.where, cite.url) for cite in mechanism.cite))


def check_page(check: Check, mechanisms: Sequence[Mechanism]) -> list[str]:
    """Claim, family, explanation, and where it is a law."""
    lines = [f"{check.id}: {check.claim}", "", f"  {check.doc}", "", f"  family {check.family}"]
    holds = [m.id for m in mechanisms if any(law.id == check.id for law in m.contract.laws)]
    lines += _section("a law of", ((name,) for name in holds))
    broken = ((m.id, b.because) for m in mechanisms for b in m.contract.broken_laws if b.law.id == check.id)
    return lines + _section("no law of", broken)


def defect_page(defect: Defect) -> list[str]:
    """What is wrong and what is right, when it shows, and where it was met."""
    rows = [("mechanism", defect.mechanism), ("family", defect.family), ("shows", defect.shows)]
    if defect.needs:
        rows.append(("counts", f"with {defect.needs}"))
    lines = [f"{defect.id}: {defect.sentence}", "", *columns(rows)]
    return lines + _section("source", ((cite,) for cite in defect.cites))


def _section(title: str, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = columns(rows)
    return ["", title, *lines] if lines else []


def _notes(row: Row) -> str:
    notes = ["optional"] if row.optional else []
    return "; ".join([*notes, "an axis may be 1"] if row.broadcasts else notes)
