"""Modules that drop at a rate of their own, which no argument sets: they are set to drop nothing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

# Every kind of dropout is one of these.
from torch.nn.modules.dropout import _DropoutNd

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
    if not own or ("dropout" in found.takes and _RATE not in _rates(found, target, case.names)):
        return found
    return replace(found, stilled=tuple(own))


def _rates(found: Found, target: Any, names: Any) -> Iterable[float]:
    return _dropping(found, target, {**names, "dropout": _RATE}).values()


def _dropping(found: Found, target: Any, names: Any) -> dict[str, float]:
    """The modules that drop something, each with its rate."""
    try:
        built = FoundAdapter(found, target).build(names)
    except Exception:
        # At other sizes it may be built; here nothing can be said.
        return {}
    modules = built.named_modules() if isinstance(built, nn.Module) else ()
    return {name: module.p for name, module in modules if isinstance(module, _DropoutNd) and module.p > 0}
