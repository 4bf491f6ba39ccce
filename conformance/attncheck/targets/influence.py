"""Which parameters of a module have no say in what it returns, and what it would learn if it were a parameter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def idle_parameters(built: Any, call: Callable[[], Tensor]) -> tuple[str, ...]:
    """Names of learned parameters that no gradient reaches, and whose values change nothing either."""
    if not isinstance(built, nn.Module):
        return ()
    learned = {n: p for n, p in built.named_parameters() if p.requires_grad and p.is_floating_point()}
    if not learned:
        return ()
    with torch.enable_grad():
        out = call()
        reached = (
            torch.autograd.grad(out.sum(), list(learned.values()), allow_unused=True)
            if out.requires_grad
            else [None] * len(learned)
        )
    silent = [name for (name, _), gradient in zip(learned.items(), reached, strict=True) if gradient is None]
    with torch.no_grad():
        # A gradient may be missing because something was detached on the way.
        return tuple(n for n in silent if _changes_nothing(learned[n], call, out.detach()))


def _changes_nothing(parameter: nn.Parameter, call: Callable[[], Tensor], before: Tensor) -> bool:
    kept = parameter.clone()
    try:
        # The same sums again: what differs by more than `repeats_itself` allows was moved by the parameter.
        parameter.mul_(-0.5).add_(0.25)
        return bool(torch.allclose(call(), before, rtol=1e-9, atol=0, equal_nan=True))
    finally:
        parameter.copy_(kept)


def unregistered(built: Any) -> tuple[str, ...]:
    """Names of tensors that were made to be learned, and are none of the module's parameters."""
    if not isinstance(built, nn.Module):
        return ()
    known = {id(p) for p in built.parameters()}
    return tuple(
        f"{path}.{name}".lstrip(".")
        for path, module in built.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and value.requires_grad and value.is_leaf and id(value) not in known
    )
