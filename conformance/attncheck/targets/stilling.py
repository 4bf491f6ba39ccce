"""Rates of dropout that no argument sets: they are set to nought."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

# Every kind of dropout is one of these.
from torch.nn.modules.dropout import _DropoutNd

from attncheck.model.case import Scalar
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.trying import first_case
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
    try:
        built = FoundAdapter(found, target).build(names)
    except Exception:
        # At other sizes it may be built; here nothing can be said.
        return {}
    modules = built.named_modules() if isinstance(built, nn.Module) else ()
    return dict(kept for name, module in modules for kept in _rates(name, module))


def _rates(name: str, module: nn.Module) -> Iterator[tuple[str, float]]:
    """Of what knows whether it is trained: a rate that a function is handed may drop in evaluation, a mistake."""
    kept = (
        "p"
        if isinstance(module, _DropoutNd)
        else "dropout"
        if isinstance(module, nn.MultiheadAttention)
        else ""
    )
    if kept and getattr(module, kept) > 0:
        yield f"{name}.{kept}", getattr(module, kept)
