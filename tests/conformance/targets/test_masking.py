"""Which form of mask a target takes, where its own mistake leaves none under which it is right."""

import torch
from torch import Tensor, nn

from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class MaskOfTheFirstSample(nn.Module):
    """Takes a mask of any batch, and so one of samples and heads in one axis as well."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        if mask is not None:
            logits = logits.masked_fill(~mask[:1], -torch.inf)
        return self.o((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_samples_and_heads_in_one_axis_are_the_last_guess_where_no_form_agrees() -> None:
    found = discover(MaskOfTheFirstSample, BY_ID["multi_head"])

    assert found.mask is not None
    assert not found.mask.folded
