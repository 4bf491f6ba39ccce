"""When two tensors are equal enough. The derivation is in docs/tolerance.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# In float64 a mistake shows 1e-2 and more, honest float32 inside up to 3e-6.
RIGHT = 1e-5
# What a module computed wholly in float64 keeps.
PRECISE = 1e-9
# Unit roundoff, half the distance from 1 to the next number.
ROUNDOFF = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}


@dataclass(frozen=True)
class Difference:
    """How far `actual` is from `expected`: relative to the largest expected value."""

    gap: float
    where: tuple[int, ...]
    expected: float
    actual: float
    scale: float

    def __str__(self) -> str:
        place = f" at {list(self.where)}" if self.where else ""
        return f"{self.actual:.6g} where {self.expected:.6g} was expected{place}"


def difference(actual: Tensor, expected: Tensor, floor: float = 1e-6) -> Difference:
    """The largest error of two tensors of one shape; a NaN on one side only is infinitely far."""
    a, e = actual.detach().to("cpu", torch.float64), expected.detach().to("cpu", torch.float64)
    if a.numel() == 0:
        return Difference(0.0, (), 0.0, 0.0, floor)
    finite = e[e.isfinite()]
    scale = max(float(finite.abs().max()) if finite.numel() else 0.0, floor)
    error = (a - e).abs()
    same = (a == e) | (a.isnan() & e.isnan())
    error = torch.where(same, torch.zeros_like(error), error.nan_to_num(nan=torch.inf))
    index = int(error.argmax())
    where = _place(index, error.shape)
    return Difference(
        float(error.flatten()[index]) / scale,
        where,
        float(e.flatten()[index]),
        float(a.flatten()[index]),
        scale,
    )


def _place(index: int, shape: Sequence[int]) -> tuple[int, ...]:
    # torch.unravel_index loads torch's compiler, which takes a second.
    place: list[int] = []
    for extent in reversed(shape):
        index, rest = divmod(index, extent)
        place.append(rest)
    return tuple(reversed(place))
