"""The page of a mechanism: everything that its annotation, its contract and its flow say."""

from collections.abc import Iterator, Mapping, Sequence

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks import every_check
from attncheck.defects.defect import Defect
from attncheck.model.case import Scalar
from attncheck.model.convention import CONVENTIONS
from attncheck.report.docs.example import example, learned
from attncheck.report.docs.markdown import GENERATED, code, section, table_of
from attncheck.shapes.flow import Flow, intermediates, numbers
from attncheck.shapes.table import Row, arguments, axes_of, table
from attnref import Mechanism
from attnref._mechanism import Law
from attnref.axes import BY_NAME

# More rows than this are folded: they are looked up, not read.
_MOST_PARAMETERS = 16
_HELD = "Each is a check that every target is held to."


def mechanism_page(mechanism: Mechanism, flow: Flow, defects: Sequence[Defect]) -> str:
    """The page as Markdown."""
    sizes = example(mechanism)
    symbolic, numeric = table(mechanism), table(mechanism, sizes)
    at = f"The example is at {_listed(sizes)}."
    lines = [
        GENERATED,
        f"# {mechanism.title}",
        "",
        f"For a reader who wants to know what `{mechanism.id}` takes and gives, and what must hold.",
        "",
        "$$",
        mechanism.formula,
        "$$",
        "",
        *section("Data flow", ["```{raw} html", f":file: pictures/{mechanism.id}.svg", "```", ""]),
        *_constructor(mechanism),
        *section("Tensors", [*_tensors(mechanism, flow, symbolic, numeric, sizes)], at),
        *section("Parameters", _parameters(mechanism, numeric)),
        *section("Axes", table_of(("axis", "means"), _axes(mechanism, symbolic))),
        *_contract(mechanism),
        *section("Known mistakes", _mistakes(mechanism, defects)),
        *section("Source", [*_source(mechanism)]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _constructor(mechanism: Mechanism) -> list[str]:
    rows = (
        (code(a.name), a.default if a.default == "required" else code(a.default), a.meaning,
         ", ".join(map(code, a.conditions)))
        for a in arguments(mechanism)
    )  # fmt: skip
    return section("Constructor", table_of(("argument", "default", "means", "must obey"), rows))


def _tensors(
    mechanism: Mechanism,
    flow: Flow,
    symbolic: Sequence[Row],
    numeric: Sequence[Row],
    sizes: Mapping[str, Scalar],
) -> Iterator[str]:
    """Inputs, what is made on the way, and outputs, each with its shape in axes and in numbers."""
    measured = numbers(mechanism, flow, sizes)
    rows = [
        [code(row.name), row.kind, _shapes(row), _shapes(_filled(in_numbers, measured)), _role(row)]
        for row, in_numbers in zip(symbolic, _aligned(symbolic, numeric), strict=True)
        if row.role != "parameter"
    ]
    between = [
        [
            code(step.gives),
            "float",
            code(_tuple(flow.extents(step))),
            code(_tuple(measured[step.gives])),
            step.does,
        ]
        for step in intermediates(flow)
    ]
    count = sum(row.role == "input" for row in symbolic)
    heads = ("tensor", "kind", "shape", "example", "what it is")
    yield from table_of(heads, [*rows[:count], *between, *rows[count:]])
    yield "To see other sizes:"
    yield ""
    yield from ("```sh", f"attncheck shapes {mechanism.id} {_listed(sizes)}", "```", "")


def _aligned(symbolic: Sequence[Row], numeric: Sequence[Row]) -> list[Row]:
    by_name = {(row.role, row.name): row for row in numeric}
    return [by_name.get((row.role, row.name), row) for row in symbolic]


def _filled(row: Row, measured: Mapping[str, tuple[int, ...]]) -> Row:
    """The row with numbers of the flow where axes are open."""
    known = measured.get(row.name)
    is_open = any(not extent.isdecimal() for form in row.forms for extent in form)
    if known is None or not is_open:
        return row
    return Row(row.role, row.name, row.kind, (tuple(map(str, known)),), row.optional, row.broadcasts)


def _role(row: Row) -> str:
    said = ["an optional input" if row.optional else ("an input" if row.role == "input" else "an output")]
    return ", ".join([*said, "any axis may be 1"] if row.broadcasts else said)


def _shapes(row: Row) -> str:
    return " or ".join(code(_tuple(form)) for form in row.forms)


def _tuple(extents: Sequence[object]) -> str:
    return f"({', '.join(map(str, extents))}{',' if len(extents) == 1 else ''})"


def _parameters(mechanism: Mechanism, numeric: Sequence[Row]) -> list[str]:
    numbers_of = {row.name: row for row in numeric if row.role == "parameter"}
    shapes = learned(mechanism)
    rows = table_of(
        ("parameter", "shape", "example"),
        ((code(name), code(_tuple(form)), _shapes(numbers_of[name])) for name, form in shapes.items()),
    )
    if len(shapes) <= _MOST_PARAMETERS:
        return rows
    # The blank lines let Markdown begin again inside of HTML.
    return ["<details>", f"<summary>All {len(shapes)} parameters</summary>", "", *rows, "</details>", ""]


def _axes(mechanism: Mechanism, symbolic: Sequence[Row]) -> Iterator[tuple[str, str]]:
    shown = [row for row in symbolic if row.role != "parameter"]
    extra = [name for name in example(mechanism) if name in BY_NAME]
    for axis in dict.fromkeys((*axes_of(shown), *extra)):
        yield code(axis), BY_NAME[axis].meaning


def _contract(mechanism: Mechanism) -> list[str]:
    """What types cannot say: conditions, options, laws, conventions, variants."""
    contract = mechanism.contract
    known = {convention.id: ", ".join(map(code, convention.options)) for convention in CONVENTIONS}
    options = ((code(o.name), ", ".join(code(str(v)) for v in o.values), o.meaning) for o in contract.options)
    broken = ((_named(b.law) + _when(b.law), b.because) for b in contract.broken_laws)
    followed = ((f"[{code(name)}](../conventions.md)", known[name]) for name in contract.conventions)
    variants = ((code(v.id), v.meaning, v.used_by) for v in contract.variants)
    conditions = ((code(r.holds), r.because) for r in contract.rules)
    return [
        *section("Defined where", table_of(("condition", "because"), conditions)),
        *section("Options", table_of(("option", "values, the default first", "means"), options)),
        *section("Laws", table_of(("law", "claim", "where"), map(_law, contract.laws)), _HELD),
        *section("Laws that do not hold", table_of(("claim", "why not"), broken)),
        *section("Conventions", table_of(("convention", "options that conform"), followed)),
        *section("Variants", table_of(("variant", "what differs", "used by"), variants)),
    ]


def _law(law: Law) -> tuple[str, str, str]:
    claim = next(check.claim for check in every_check() if check.id == law.id)
    return _named(law), claim, ", ".join(_where(law))


def _named(law: Law) -> str:
    return f"[{code(law.id)}](../checks.md#{law.id})" if law.id in CHECKS else code(law.id)


def _where(law: Law) -> Iterator[str]:
    if law.when:
        yield code(law.when)
    if law.only_eval:
        yield "in eval mode"


def _when(law: Law) -> str:
    return f" where {code(law.when)}" if law.when else ""


def _mistakes(mechanism: Mechanism, defects: Sequence[Defect]) -> list[str]:
    mine = [d for d in defects if d.mechanism == mechanism.id]
    return table_of(
        ("mistake", "what is wrong", "shows where"),
        ((code(d.id.removeprefix(f"{mechanism.id}.")), d.sentence, code(d.shows)) for d in mine),
    )


def _source(mechanism: Mechanism) -> Iterator[str]:
    for cite in mechanism.cite:
        yield f"- [{cite.title}]({cite.url}){f', {cite.where}' if cite.where else ''}"
    yield ""
    if mechanism.differs_from:
        yield f"Differs from other forms: {mechanism.differs_from}"


def _listed(sizes: Mapping[str, Scalar]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items() if name in BY_NAME)
