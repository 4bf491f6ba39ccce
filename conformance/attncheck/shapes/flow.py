"""The data flow of a mechanism: steps from inputs to outputs, each tensor on the way with its shape."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from attncheck.model.case import Scalar
from attncheck.shapes.table import UNKNOWN, Row, resolve, table
from attnref import Mechanism
from attnref._signature import Dim


@dataclass(frozen=True)
class Step:
    """What one step does: it reads tensors and gives one, with the help of what is learned.

    `shape` is written as in an annotation. An input or output has none here: it has the one
    that its annotation says.
    """

    does: str
    reads: tuple[str, ...]
    gives: str
    shape: str = ""
    learns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """The steps of a mechanism with its default options.

    `also` says what axes of an output are that no input has; `forms` picks the shape of an input
    that has several, else the shortest counts.
    """

    steps: tuple[Step, ...]
    also: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, int] = field(default_factory=dict)

    def extents(self, step: Step) -> tuple[str, ...]:
        """The dimensions of what a step gives, as expressions."""
        return tuple(ast.unparse(ast.parse(text, mode="eval")) for text in step.shape.split())


def intermediates(flow: Flow) -> tuple[Step, ...]:
    """The steps whose results are neither input nor output."""
    return tuple(step for step in flow.steps if step.shape)


def rows_of(mechanism: Mechanism, flow: Flow) -> dict[str, Row]:
    """Every tensor of the flow by name, with its one symbolic form."""
    rows: dict[str, Row] = {}
    for row in table(mechanism):
        if row.role != "parameter":
            rank = flow.forms.get(row.name, min(map(len, row.forms)))
            form = next(form for form in row.forms if len(form) == rank)
            rows[row.name] = Row(row.role, row.name, row.kind, (form,), row.optional, row.broadcasts)
    for step in intermediates(flow):
        rows[step.gives] = Row("output", step.gives, "float", (flow.extents(step),))
    return rows


def numbers(mechanism: Mechanism, flow: Flow, sizes: Mapping[str, Scalar]) -> dict[str, tuple[int, ...]]:
    """The extents of every tensor of the flow for sizes; a tensor with an open axis has none."""
    names: dict[str, Scalar] = dict(resolve(mechanism, sizes))
    for axis, expression in flow.also.items():
        names[axis] = Dim(expression).size(names)
    found = {}
    for name, row in rows_of(mechanism, flow).items():
        (form,) = row.forms
        if not any(UNKNOWN in extent for extent in form):
            found[name] = tuple(Dim(extent).size(names) for extent in form)
    return found
