"""Exact softmax attention at any length, in memory that grows with the length and not with its square."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from attnref._checked import checked
from attnref.mechanisms.scaled_dot_product import Alignment, softmax_or_zeros

# Blocks of scores are at most ROWS × KEYS for each batch and head: 4 MiB in float64.
ROWS = 512
KEYS = 1024


@checked
def long_attention(
    q: Float[Tensor, "batch heads q_len head_dim"],
    k: Float[Tensor, "batch heads kv_len head_dim"],
    v: Float[Tensor, "batch heads kv_len v_dim"],
    valid_lens: Int[Tensor, "batch"] | None = None,
    *,
    causal: bool = False,
    alignment: Alignment = "upper_left",
    scale: float | None = None,
    rows: int = ROWS,
    keys: int = KEYS,
) -> Float[Tensor, "batch heads q_len v_dim"]:
    """Attend as `scaled_dot_product` does, block by block; gradients too.

    `valid_lens` counts the keys, from the first, that a sample may attend to; `rows` and `keys`
    are the sides of a block. Gradients of gradients are not defined.

    A query that may attend to nothing, or that has no keys at all, gets zeros and zero gradients.

    Differs from: Milakov and Gimelshein 2018, whose running sums this keeps, in that whole blocks
    of keys are taken at once. What the backward pass recomputes is as in Dao et al. 2022.

    Source: Milakov and Gimelshein 2018, algorithm 3, arXiv:1805.02867; Dao et al. 2022,
    appendix B.2, arXiv:2205.14135.
    Raises: ShapeError if axes do not agree.
    """
    if scale is None:
        scale = q.shape[-1] ** -0.5
    blocks = _Blocks(q.shape[2], k.shape[2], valid_lens, causal, alignment, rows, keys)
    out: Tensor = _LongAttention.apply(q, k, v, scale, blocks)  # type: ignore[no-untyped-call]  # torch types no apply
    return out


@checked
def sampled_rows(
    q: Float[Tensor, "batch heads q_len head_dim"],
    k: Float[Tensor, "batch heads kv_len head_dim"],
    v: Float[Tensor, "batch heads kv_len v_dim"],
    positions: Int[Tensor, "rows"],
    valid_lens: Int[Tensor, "batch"] | None = None,
    *,
    causal: bool = False,
    alignment: Alignment = "upper_left",
    scale: float | None = None,
) -> Float[Tensor, "batch heads rows v_dim"]:
    """The rows of `scaled_dot_product` at some positions of the queries, and no others.

    Source: Vaswani et al. 2017, equation 1, arXiv:1706.03762.
    Raises: ShapeError if axes do not agree; IndexError if a position is not below q_len.
    """
    if scale is None:
        scale = q.shape[-1] ** -0.5
    logits = einsum(q[:, :, positions], k, "b h i d, b h j d -> b h i j") * scale
    blocks = _Blocks(q.shape[2], k.shape[2], valid_lens, causal, alignment, ROWS, KEYS)
    hidden = blocks.hidden(positions, torch.arange(k.shape[2], device=k.device))
    if hidden is not None:
        logits = logits.masked_fill(hidden, -torch.inf)
    return einsum(softmax_or_zeros(logits), v, "b h i j, b h j d -> b h i d")


@dataclass(frozen=True)
class _Blocks:
    """How the scores are cut into blocks, and which of them nobody may see."""

    q_len: int
    kv_len: int
    valid_lens: Tensor | None
    causal: bool
    alignment: Alignment
    rows: int
    keys: int

    def __iter__(self) -> Iterator[tuple[slice, list[slice]]]:
        """Each block of rows with the blocks of keys that any of its rows may see."""
        for start in range(0, self.q_len, self.rows):
            stop = min(start + self.rows, self.q_len)
            seen = self.kv_len
            if self.causal:
                seen = min(max(stop + self._offset, 0), seen)
            yield (
                slice(start, stop),
                [slice(key, min(key + self.keys, seen)) for key in range(0, seen, self.keys)],
            )

    def hidden(self, i: Tensor, j: Tensor) -> Tensor | None:
        """Where queries at i may not see keys at j: `#batch 1 #rows keys`, or None if they all may."""
        hidden = (j > i[:, None] + self._offset)[None, None] if self.causal else None
        if self.valid_lens is None:
            return hidden
        beyond = j >= self.valid_lens[:, None, None, None]
        return beyond if hidden is None else hidden | beyond

    def scores(self, q: Tensor, k: Tensor, scale: float, rows: slice, keys: slice) -> Tensor:
        """One block of logits, -inf where hidden."""
        logits = (q[:, :, rows] * scale) @ k[:, :, keys].mT
        i = torch.arange(rows.start, rows.stop, device=q.device)
        hidden = self.hidden(i, torch.arange(keys.start, keys.stop, device=q.device))
        return logits if hidden is None else logits.masked_fill_(hidden, -torch.inf)

    @property
    def _offset(self) -> int:
        return self.kv_len - self.q_len if self.alignment == "lower_right" else 0


class _LongAttention(torch.autograd.Function):
    """Forward streams over blocks of keys; backward computes each block of weights again."""

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: _Blocks) -> Tensor:
        out = q.new_zeros(*q.shape[:-1], v.shape[-1])
        # A row that sees nothing keeps +inf, so that all its weights are exp(-inf) = 0 again.
        log_sum = q.new_full(q.shape[:-1], torch.inf)
        for rows, key_blocks in blocks:
            if key_blocks:
                out[:, :, rows], log_sum[:, :, rows] = _stream(q, k, v, scale, blocks, rows, key_blocks)
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.scale, ctx.blocks = scale, blocks  # type: ignore[attr-defined]  # torch's way to pass them on
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        scale, blocks = ctx.scale, ctx.blocks
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        mean = (grad * out).sum(-1, keepdim=True)
        for rows, key_blocks in blocks:
            for keys in key_blocks:
                logits = blocks.scores(q, k, scale, rows, keys)
                weights = logits.sub_(log_sum[:, :, rows, None]).exp_()
                grad_v[:, :, keys] += weights.mT @ grad[:, :, rows]
                grad_logits = weights * (grad[:, :, rows] @ v[:, :, keys].mT - mean[:, :, rows])
                grad_q[:, :, rows] += grad_logits @ k[:, :, keys] * scale
                grad_k[:, :, keys] += grad_logits.mT @ q[:, :, rows] * scale
        return grad_q, grad_k, grad_v, None, None


def _stream(
    q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: _Blocks, rows: slice, key_blocks: list[slice]
) -> tuple[Tensor, Tensor]:
    """Output and log of the sum of exponentials for one block of rows."""
    maximum = q.new_full(q[:, :, rows].shape[:-1], -torch.inf)
    total = torch.zeros_like(maximum)
    weighted = q.new_zeros(*maximum.shape, v.shape[-1])
    for keys in key_blocks:
        logits = blocks.scores(q, k, scale, rows, keys)
        higher = torch.maximum(maximum, logits.amax(-1))
        # Rows that have seen nothing yet stand at -inf, and -inf - -inf is no number.
        base = higher.masked_fill(higher.isneginf(), 0.0)
        shrunk = (maximum - base).exp()
        weights = logits.sub_(base[..., None]).exp_()
        total = total * shrunk + weights.sum(-1)
        weighted = weighted * shrunk[..., None] + weights @ v[:, :, keys]
        maximum = higher
    dead = total == 0
    out = weighted / total.masked_fill(dead, 1.0)[..., None]
    return out, (maximum + total.log()).masked_fill(dead, torch.inf)
