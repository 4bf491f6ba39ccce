"""Weights that are computed anew in each call, as by spectral norm: no weight of the reference can be put there."""

from typing import Any

from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.trying import built_at, first_case
from attnref import Mechanism

TAKE_OFF = (
    "take the spectral or weight norm off what is judged (torch.nn.utils.parametrize.remove_parametrizations)"
)


def reparametrised(found: Found, target: Any, mechanism: Mechanism) -> list[str]:
    """The parts of a target whose weights are computed of others."""
    case = first_case(found, mechanism) if found.is_class else None
    built = built_at(FoundAdapter(found, target), case.names) if case is not None else None
    modules = built.named_modules() if isinstance(built, nn.Module) else ()
    return [name for name, module in modules if _computes_its_weights(module)]


def _computes_its_weights(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()
    return parametrize.is_parametrized(module) or any(
        isinstance(h, (SpectralNorm, WeightNorm)) for h in hooks
    )
