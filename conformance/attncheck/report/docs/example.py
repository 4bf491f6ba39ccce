"""The sizes of the worked example on a mechanism's page: all different, as in the first case of a run."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from attncheck.model.case import Scalar
from attncheck.shapes.inferred import parameters_in_axes
from attncheck.shapes.table import UNKNOWN, table
from attncheck.targets.adapter import Reference
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref._signature import Dim

# A stride of one would hide what a stride does to a map.
_STRIDE = 2
# Legal sizes of several kinds, so that a parameter's extent is told from its neighbours.
_OTHERS: tuple[Mapping[str, int], ...] = (
    {"batch": 3, "heads": 2, "head_dim": 9, "v_dim": 5, "model_dim": 20, "query_size": 7, "key_size": 23,
     "value_size": 29, "hidden": 38, "tokens": 9, "channels": 40, "out_channels": 54, "groups": 5,
     "branches": 2, "reduction": 4, "least_reduced": 13, "kernel": 5, "gate_kernel": 7, "height": 71,
     "width": 103, "classes": 11, "reduced": 6, "stride": 3},
    {"batch": 5, "heads": 4, "head_dim": 6, "v_dim": 3, "model_dim": 28, "query_size": 11, "key_size": 31,
     "value_size": 37, "hidden": 58, "tokens": 15, "channels": 84, "out_channels": 66, "groups": 7,
     "branches": 4, "reduction": 3, "least_reduced": 9, "kernel": 7, "gate_kernel": 9, "height": 135,
     "width": 167, "classes": 17, "reduced": 10, "stride": 2},
)  # fmt: skip


@lru_cache(maxsize=64)
def example(mechanism: Mechanism) -> Mapping[str, Scalar]:
    """Sizes and options of the worked example."""
    return _legal(mechanism, {"stride": _STRIDE})


@lru_cache(maxsize=64)
def learned(mechanism: Mechanism) -> Mapping[str, tuple[str, ...]]:
    """Every parameter with its symbolic shape."""
    found = parameters_in_axes(mechanism, [example(mechanism), *(_legal(mechanism, o) for o in _OTHERS)])
    annotated = {row.name: row.forms[0] for row in table(mechanism) if row.role == "parameter"}
    return {name: annotated[name] if UNKNOWN in form else form for name, form in found.items()}


def _legal(mechanism: Mechanism, chosen: Mapping[str, int]) -> dict[str, Scalar]:
    subject = Subject(mechanism, Reference(mechanism).interface)
    options = default_options(subject)
    rules = rules_of(subject, options)
    wanted = {axis: chosen.get(axis, rules.base[axis]) for axis in rules.primary}
    legal = filter(None, map(rules.complete, _with_defaults(mechanism, wanted)))
    sizes = next(legal, None)
    assert sizes is not None, f"{mechanism.id} is not defined for {wanted}"
    return {**options, **sizes}


def _with_defaults(mechanism: Mechanism, sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """The sizes as they are, then with one size at its default: some may differ only under an option."""
    yield dict(sizes)
    for axis, expression in mechanism.contract.defaults.items():
        yield {**sizes, axis: Dim(expression).size(sizes)}
