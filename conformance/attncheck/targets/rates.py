"""Rates of dropout that the parts of a module keep, each by the path to it."""

from collections.abc import Sequence
from typing import Any

from torch import nn

# Every kind of dropout is one of these.
from torch.nn.modules.dropout import _DropoutNd


def rates_in(built: nn.Module) -> dict[str, float]:
    """The rates above nought of what knows whether it is trained.

    A rate that a function is handed may be dropped at in evaluation, which is a mistake.
    """
    found = {}
    for name, module in built.named_modules():
        kept = (
            "p"
            if isinstance(module, _DropoutNd)
            else "dropout"
            if isinstance(module, nn.MultiheadAttention)
            else ""
        )
        if kept and getattr(module, kept) > 0:
            found[f"{name}.{kept}"] = getattr(module, kept)
    return found


def stilled(built: Any, rates: Sequence[str]) -> Any:
    """The same module, dropping nothing at these rates."""
    modules = dict(built.named_modules()) if isinstance(built, nn.Module) else {}
    for owner, _, kept in (path.rpartition(".") for path in rates):
        # At other sizes there may be fewer.
        if owner in modules:
            setattr(modules[owner], kept, 0.0)
    return built
