"""Attention as people write it, in many styles: each is proved, refuted with its sizes, or left open."""

import random

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from attncheck.shapes.proof import answer
from attncheck.shapes.question import Question
from attncheck.shapes.replay import replay

TOKENS = ("batch", "tokens", "6")
IMAGE = ("batch", "6", "height", "width")


class Projected(nn.Module):
    """Three projections and some way from them to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=3) for part in self.qkv(x).chunk(3, -1))
        return self.joined((q @ k.mT).softmax(-1) @ v)

    def joined(self, heads: Tensor) -> Tensor:
        return rearrange(heads, "b h n d -> b n (h d)")


class Viewed(Projected):
    """view needs strides that a transposed tensor has only for one token."""

    def joined(self, heads: Tensor) -> Tensor:
        return heads.transpose(1, 2).view(heads.shape[0], -1, 6)


class Flattened(Projected):
    """All samples in one long matrix, and back."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.qkv(x.reshape(-1, 6))
        return rows[:, :6].reshape(*x.shape[:2], -1)


class OfOneLength(Projected):
    """The map of one data set, written into the code."""

    def joined(self, heads: Tensor) -> Tensor:
        return heads.transpose(1, 2).reshape(-1, 49, 6)


class Windowed(Projected):
    """Windows of four, whatever the number of tokens."""

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unflatten(1, (-1, 4)).flatten(0, 1)
        return super().forward(windows).reshape(x.shape)


class PaddedWindows(Windowed):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad(x, (0, 0, 0, -x.shape[1] % 4)))[:, : x.shape[1]]


class Tril(Projected):
    """A causal mask made for every call."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        hidden = torch.ones(x.shape[1], x.shape[1]).tril() == 0
        return (q @ k.mT).masked_fill(hidden, -torch.inf).softmax(-1) @ v


class KeptTril(Projected):
    """A causal mask made for 64 tokens at most."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.ones(64, 64).tril() == 0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        tokens = x.shape[1]
        return (q @ k.mT).masked_fill(self.hidden[:tokens, :tokens], -torch.inf).softmax(-1) @ v


class WithClassToken(Projected):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1))[:, 1:]


class HeadByHead(nn.Module):
    """A list of heads, and torch's operator."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = (scaled_dot_product_attention(*head(x).chunk(3, -1)) for head in self.heads)
        return torch.cat(list(parts), -1)


class LooksAtValues(Projected):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.abs().max() < 1e4 else x


class OfOneMap(nn.Module):
    """Positions for a map that the constructor was given."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(7 * 5 + 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).mT
        rows = torch.cat([rows.mean(1, keepdim=True), rows], 1) + self.positions
        return x * scaled_dot_product_attention(rows[:, :1], rows, rows).mT[..., None]


class PooledKeys(nn.Module):
    """As many keys as there are cells in a grid of a fixed size."""

    def forward(self, x: Tensor) -> Tensor:
        keys = nn.functional.adaptive_avg_pool2d(x, 3).flatten(2).mT
        return scaled_dot_product_attention(x.flatten(2).mT, keys, keys).mT.reshape(x.shape)


class ByRows(nn.Module):
    """Attention along each row of a map, the rows folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        rows = rearrange(x, "b c h w -> (b h) w c")
        return rearrange(scaled_dot_product_attention(rows, rows, rows), "(b h) w c -> b c h w", b=x.shape[0])


@pytest.mark.parametrize(
    ("module", "dims", "status", "words"),
    [
        (Projected, TOKENS, "proved", ""),
        (Viewed, TOKENS, "refuted", "tokens >= 2"),
        (Flattened, TOKENS, "proved", ""),
        (OfOneLength, TOKENS, "refuted", "tokens != 49"),
        (Windowed, TOKENS, "refuted", "tokens % 4 != 0"),
        (PaddedWindows, TOKENS, "proved", ""),
        (Tril, TOKENS, "proved", ""),
        (KeptTril, TOKENS, "refuted", "tokens >= 65"),
        (WithClassToken, TOKENS, "proved", ""),
        (HeadByHead, TOKENS, "proved", ""),
        (LooksAtValues, TOKENS, "open", "the way it takes depends on values, not on sizes"),
        (OfOneMap, IMAGE, "refuted", "height * width != 35"),
        (PooledKeys, IMAGE, "proved", ""),
        (ByRows, IMAGE, "proved", ""),
    ],
)
def test_the_proof_says_what_real_runs_do(module, dims, status, words):
    question = Question(lambda _: module(), {"x": dims}, dims)
    draw = random.Random(0)

    # The limit is far off, so that a busy machine does not change the answer.
    proof = answer(question, seconds=200)

    assert proof.status == status
    # A reason goes on with what torch says.
    assert proof.predicate == words or (status == "open" and proof.reason.startswith(words))
    for _ in range(40):
        sizes = {axis: draw.choice((1, 1, 2, 3, 4, 5, 7, 8, 12, 35, 49, 65)) for axis in question.axes}
        predicted = proof.predict(sizes)
        assert predicted is None or (predicted == "ok") == (replay(question, sizes).outcome == "ok"), sizes
