"""Seeded tensors, and how far two ways of computing the same thing may lie apart."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Draw = Callable[..., Tensor]

# A chain from inputs to result rounds at most this often in the dtype itself (projection, scale,
# product, bias, softmax, weighted sum, joining, projection; each once forward and once on the
# way into the next); torch sums inside a product in float32 at least.
ROUNDINGS = 16


@pytest.fixture(scope="session")
def maker(device: torch.device) -> Callable[[int], Draw]:
    """`draw = maker(seed)`: each `draw(2, 3)` is a new float64 tensor with values in [-1, 1)."""

    def seeded(seed: int) -> Draw:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1).to(device)

        return draw

    return seeded


@pytest.fixture(scope="session")
def agrees() -> Callable[[Tensor, Tensor], bool]:
    """Whether a result is the float64 truth, up to the rounding of its own dtype.

    In float64 two orders of summing fewer than a thousand numbers differ by less than 1e-12 of
    the largest; 1e-9 leaves room for exp and tanh. Below, `ROUNDINGS` times the dtype's eps.
    """

    def close(actual: Tensor, truth: Tensor) -> bool:
        if actual.shape != truth.shape:
            return False
        if truth.numel() == 0:
            return True
        relative = 1e-9 if actual.dtype == torch.float64 else ROUNDINGS * torch.finfo(actual.dtype).eps
        largest = max(1.0, truth.abs().max().item())
        # NaN is not smaller than anything, so it never agrees.
        return (actual.double() - truth.double()).abs().max().item() <= relative * largest

    return close


@pytest.fixture(scope="session")
def randomise(maker: Callable[[int], Draw]) -> Callable[..., torch.nn.Module]:
    """Move a module to the device in float64 and give every parameter new values."""

    def fill(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        draw = maker(seed)
        module = module.to(draw(1).device, torch.float64)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(draw(*parameter.shape))
        return module

    return fill


@pytest.fixture(scope="session")
def lived(
    maker: Callable[[int], Draw], randomise: Callable[..., torch.nn.Module]
) -> Callable[..., torch.nn.Module]:
    """Give a module new values, and statistics as if its batch norms had seen data; in evaluation."""

    def season(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        draw = maker(seed + 1)
        for part in randomise(module, seed).modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                part.running_mean.copy_(draw(*part.running_mean.shape))
                part.running_var.copy_(draw(*part.running_var.shape) / 2 + 1)
        return module.eval()

    return season


@pytest.fixture(scope="session")
def silent_parameters() -> Callable[[torch.nn.Module], list[str]]:
    """Names of the parameters whose gradient is missing, zero everywhere, or not finite."""

    def silent(module: torch.nn.Module) -> list[str]:
        return [name for name, parameter in module.named_parameters() if not _speaks(parameter.grad)]

    return silent


def _speaks(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.any())
