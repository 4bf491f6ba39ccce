"""Queries, keys and values that come as one tensor, with an axis of three, are handed over so."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.notes import notes_of
from attnref.catalogue import BY_ID

SDPA = BY_ID["scaled_dot_product"]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v


def three_first(qkv: Tensor) -> Tensor:
    return attend(*qkv)


def three_before_heads(qkv: Tensor) -> Tensor:
    """(batch, length, 3, heads, width)."""
    q, k, v = qkv.movedim(2, 0).transpose(2, 3)
    return attend(q, k, v).transpose(1, 2)


def keys_last(qkv: Tensor) -> Tensor:
    q, v, k = qkv
    return attend(q, k, v)


@pytest.mark.parametrize(
    ("target", "place", "order"),
    [(three_first, 0, "heads before length"), (three_before_heads, 2, "heads after length")],
)
def test_one_tensor_of_queries_keys_and_values_conforms(
    target: Callable[..., Tensor], place: int, order: str
) -> None:
    found = discover(target, SDPA)

    assert (found.certainty, found.call[0].pack) == ("verified", f"stacked on axis {place}")
    assert notes_of(found)[0] == f"called with (qkv=q,k,v stacked on axis {place}), {order}"
    assert run(target, mechanism=SDPA.id, budget="quick", isolate=False, seed=1).conforms


def test_keys_in_the_place_of_values_are_found() -> None:
    """They are as wide and as long, so that shapes tell nothing."""
    assert not run(keys_last, mechanism=SDPA.id, budget="quick", isolate=False, seed=1).conforms
