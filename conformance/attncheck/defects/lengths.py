"""Mistakes that show only beyond 2^16 positions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attncheck.defects.attention import softmax_of_the_living
from attncheck.defects.defect import Mistake
from attncheck.defects.pixels import Pixels

_COUNTABLE = 2**16
_CITES = ("pytorch/pytorch#162588", "tile-ai/tilelang#330")
_BUDGET = "--budget deep"


def _few_keys(self: Any, logits: Tensor) -> Tensor:
    beyond = torch.arange(logits.shape[-1], device=logits.device) >= _COUNTABLE
    return softmax_of_the_living(logits.masked_fill(beyond, -torch.inf))


def _few_rows(self: Any, weights: Tensor, v: Tensor) -> Tensor:
    out = weights[..., :_COUNTABLE, :] @ v
    return torch.nn.functional.pad(out, (0, 0, 0, weights.shape[-2] - out.shape[-2]))


def _few_pixels(self: Any, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    if k.shape[-1] <= _COUNTABLE:
        return Pixels.attended(self, q, k, v)
    # With all weights in memory at once, 16 GiB of them, nobody would get to see the mistake.
    queries, keys, values = (
        t.mT[:, None].contiguous() for t in (q, k[..., :_COUNTABLE], v[..., :_COUNTABLE])
    )
    read = scaled_dot_product_attention(queries, keys, values, scale=self.factor(q, k))
    return read[:, 0].mT, q.new_zeros(0)


LENGTHS: tuple[Mistake, ...] = (
    Mistake("keys_counted_in_16_bits", "Keys beyond 2^16 are never read; count them in 32 bits.",
        _CITES, "kv_len > 65536", "value", {"weighed": _few_keys}, needs=_BUDGET),
    Mistake("queries_counted_in_16_bits", "Rows beyond 2^16 stay zero; count queries in 32 bits.",
        _CITES, "q_len > 65536", "value", {"averaged": _few_rows}, needs=_BUDGET),
)  # fmt: skip

MAPS: tuple[Mistake, ...] = (
    Mistake("pixels_counted_in_16_bits", "Pixels beyond 2^16 are never read; count them in 32 bits.",
        _CITES, "height * width > 65536", "value", {"attended": _few_pixels}, needs=_BUDGET),
)  # fmt: skip
