"""How a check turns two results into a judgement."""

import torch
from torch import Tensor

from attncheck.checks.check import Compared, Judgement, Mismatch
from attncheck.strategies.tolerance import RIGHT, ROUNDOFF, difference

# What sums of a few dozen terms lose in the input's precision.
ROUNDINGS = 64


def agree(actual: Tensor, expected: Tensor, what: str = "the output", tolerance: float = RIGHT) -> Judgement:
    """None if the two are equal within `tolerance` of the largest expected value.

    Targets that compute in float32 alone cannot keep more than float32 has.
    """
    if expected.dtype is torch.float32:
        tolerance = max(tolerance, ROUNDINGS * ROUNDOFF[torch.float32])
    compared = Compared(actual, expected, tolerance)
    if actual.shape != expected.shape:
        return Mismatch(
            f"{what} of shape {tuple(expected.shape)}", f"shape {tuple(actual.shape)}", kind="wrong shape", compared=compared,
        )  # fmt: skip
    gap = difference(actual, expected)
    if gap.gap <= tolerance:
        return None
    kind = "NaN" if bool(actual.isnan().any()) and not bool(expected.isnan().any()) else "wrong values"
    return Mismatch(
        f"{what} within {tolerance:g} of the largest value, {gap.scale:.3g}",
        f"off by {gap.gap:.2g} times that: {gap}",
        gap.gap,
        kind,
        compared,
    )
