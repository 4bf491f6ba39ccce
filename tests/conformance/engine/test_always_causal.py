"""A target that is always causal: what it gives a query that sees no key is its own convention."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attncheck import run


def attention(
    q: Tensor, k: Tensor, v: Tensor, fill: float = -torch.inf, cleaned: bool = False, shift: int = 0
) -> Tensor:
    """The last query sees the last key, so that of more queries than keys the first see none."""
    logits = q @ k.mT / q.shape[-1] ** 0.5
    future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(k.shape[-2] - q.shape[-2] + 1 + shift)
    weights = logits.masked_fill(future, fill).softmax(-1)
    return (weights.masked_fill(future, 0) if cleaned else weights) @ v


def nothing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v, cleaned=True)


def nan(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v)


def mean(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v, fill=torch.finfo(q.dtype).min)


@pytest.mark.parametrize("target", [nothing, nan, mean], ids=lambda f: f.__name__)
def test_each_convention_conforms(target: Callable[..., Tensor]) -> None:
    report = run(target, mechanism="scaled_dot_product", isolate=False, seed=1)

    assert [v.check for v in report.verdicts if v.outcome in ("failed", "errored")] == []


def a_key_ahead(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention(q, k, v, shift=1)


def test_rows_that_see_a_key_are_judged_beside_those_that_see_none() -> None:
    assert not run(
        a_key_ahead, mechanism="scaled_dot_product", budget="quick", isolate=False, seed=1
    ).conforms


def masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Causal, with a mask beside it: together they may leave a query without a key."""
    logits = q @ k.mT / q.shape[-1] ** 0.5
    future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
    logits = logits.masked_fill(future, torch.finfo(q.dtype).min)
    return (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).softmax(-1) @ v


def test_rows_that_mask_and_future_leave_without_a_key_are_held_against_nobody() -> None:
    report = run(masked, mechanism="scaled_dot_product", isolate=False, seed=1)

    assert [v.check for v in report.verdicts if v.outcome in ("failed", "errored")] == []
