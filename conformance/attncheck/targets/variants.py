"""Options of the reference that a target does not let one choose: which of them may it have taken?"""

import inspect
import itertools
from collections.abc import Mapping
from dataclasses import replace

from attncheck.model.case import Scalar
from attncheck.targets.adapter import parameter_shapes, signature_of
from attncheck.targets.found import Found
from attncheck.targets.trying import case_for
from attnref import Mechanism

_MOST = 128
# Options of a call that a target may have taken once and for all.
_CALL = ("causal", "alignment")


def option_groups(
    mechanism: Mechanism, base: Found, sizes: Mapping[str, int]
) -> list[list[dict[str, Scalar]]]:
    """Values of the options, those that give the reference one set of parameters in one group.

    Within a group a single call of the target tells them apart; the defaults come first.
    """
    groups: dict[str, list[dict[str, Scalar]]] = {}
    for fixed in combinations(mechanism, base):
        names = [t.name for t in signature_of(mechanism).inputs if not t.optional]
        case = case_for(replace(base, fixed=fixed, inputs={n: (n,) for n in names}), mechanism, sizes)
        if case is not None:
            shapes = parameter_shapes(mechanism, {**case.names, **fixed})
            groups.setdefault(repr(shapes), []).append(fixed)
    return list(groups.values())


def combinations(mechanism: Mechanism, base: Found) -> list[dict[str, Scalar]]:
    """Every way to settle the options: the defaults, one changed, then several."""
    built = inspect.signature(mechanism.module).parameters if mechanism.module else {}
    options = [
        o for o in mechanism.contract.options
        if (o.name in built or o.name in _CALL) and o.name not in base.takes
    ]  # fmt: skip
    biases = [o for o in options if o.name.endswith("bias")]
    settled = [o for o in options if o.name not in _CALL and o not in biases]
    # With every bias there is, those that a target lacks are zeros; so nothing need be tried twice.
    defaults: dict[str, Scalar] = {o.name: True for o in biases} | {o.name: o.values[0] for o in settled}
    singles = [{**defaults, o.name: v} for o in settled for v in o.values[1:]]
    names = [o.name for o in settled]
    every = [
        {**defaults, **dict(zip(names, v, strict=True))}
        for v in itertools.product(*(o.values for o in settled))
    ]
    causal: list[dict[str, Scalar]] = []
    if any(o.name == "causal" for o in options):
        causal = [{"causal": True, "alignment": a} for a in ("upper_left", "lower_right")]
    result: list[dict[str, Scalar]] = []
    for each in [defaults, *({**defaults, **c} for c in causal), *singles, *every]:
        if each not in result and len(result) < _MOST:
            result.append(each)
    return result
