"""Rates of dropout that no argument sets: which they are, so that they can be set to nought."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from attncheck.model.case import Scalar
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.rates import rates_in
from attncheck.targets.trying import built_at, first_case
from attnref import Mechanism

_RATE = 0.375


def with_stilled(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter that stills what drops though the rate is nought.

    Not where a rate can be chosen and no module follows it: to ignore its rate is a target's mistake.
    """
    case = first_case(found, mechanism) if found.is_class else None
    if case is None:
        return found
    own = _dropping(found, target, {**case.names, "dropout": 0.0})
    followed = _dropping(found, target, {**case.names, "dropout": _RATE})
    if not own or ("dropout" in found.takes and _RATE not in followed.values()):
        return found
    return replace(found, stilled=tuple(own))


def _dropping(found: Found, target: Any, names: Mapping[str, Scalar]) -> dict[str, float]:
    """The rates that are kept anywhere in the target, each with the path to it."""
    built = built_at(FoundAdapter(found, target), names)
    return rates_in(built) if isinstance(built, nn.Module) else {}
