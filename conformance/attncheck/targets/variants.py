"""Options of the reference that a target does not let one choose: which of them may it have taken?"""

import inspect
import itertools
from collections.abc import Mapping

from attnref import Mechanism

from attncheck.model.case import Scalar
from attncheck.targets.adapter import parameter_shapes, signature_of
from attncheck.targets.found import Found
from attncheck.targets.trying import case_for

_MOST = 48
# Options of a call that a target may have taken once and for all.
_CALL = ("causal", "alignment")


def option_groups(mechanism: Mechanism, base: Found, sizes: Mapping[str, int]) -> list[list[dict[str, Scalar]]]:
    """Values of the options, those that give the reference one set of parameters in one group.

    Within a group a single call of the target tells them apart; the defaults come first.
    """
    groups: dict[str, list[dict[str, Scalar]]] = {}
    for fixed in _combinations(mechanism, base):
        names = [t.name for t in signature_of(mechanism).inputs if not t.optional]
        tried = _Fixed(base, fixed, names)
        case = case_for(tried.found, mechanism, sizes)
        if case is not None:
            shapes = parameter_shapes(mechanism, {**case.names, **fixed})
            groups.setdefault(repr(shapes), []).append(fixed)
    return list(groups.values())


class _Fixed:
    """A guess whose options are settled and whose inputs are the reference's."""

    def __init__(self, base: Found, fixed: Mapping[str, Scalar], names: list[str]) -> None:
        from dataclasses import replace

        self.found = replace(base, fixed=fixed, inputs={n: (n,) for n in names})


def _combinations(mechanism: Mechanism, base: Found) -> list[dict[str, Scalar]]:
    """Every way to settle the options: the defaults, one changed, then several."""
    built = inspect.signature(mechanism.module).parameters if mechanism.module else {}
    options = [
        o for o in mechanism.contract.options
        if (o.name in built and o.name != "bias" or o.name in _CALL) and o.name not in base.takes
    ]  # fmt: skip
    settled = [o for o in options if o.name not in _CALL]
    defaults: dict[str, Scalar] = {o.name: o.values[0] for o in settled}
    singles = [{**defaults, o.name: v} for o in settled for v in o.values[1:]]
    every = [dict(zip(defaults, v, strict=True)) for v in itertools.product(*(o.values for o in settled))]
    causal: list[dict[str, Scalar]] = []
    if any(o.name == "causal" for o in options):
        causal = [{"causal": True, "alignment": a} for a in ("upper_left", "lower_right")]
    result: list[dict[str, Scalar]] = []
    for each in [defaults, *({**defaults, **c} for c in causal), *singles, *every]:
        if each not in result and len(result) < _MOST:
            result.append(each)
    return result
