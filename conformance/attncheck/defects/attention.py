"""Attention over keys in plain torch, one step a method, so that a mistake can replace any of them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from attnref.mechanisms.cross import Cross
from attnref.mechanisms.multi_head import MultiHead


class Attention:
    """softmax(q kᵀ · factor) v for tensors whose axes are batch, heads, length, features."""

    training = False

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        bias: Tensor | None,
        options: dict[str, Any],
    ) -> tuple[Tensor, Tensor]:
        q, k, v = self.prepared(q, k, v, options)
        logits = self.scored(q, k, self.factor(q, k, v, options.get("scale")))
        logits = self.biased(self.capped(logits, options.get("soft_cap")), bias)
        visible = self.both(self.taken(mask, q, k), self.diagonal(q, k, options))
        weights = self.weighed(self.hidden(logits, visible))
        return self.averaged(weights, v), weights

    def prepared(
        self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        return q, k, v

    def factor(self, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
        return float(q.shape[-1] ** -0.5) if scale is None else scale

    def scored(self, q: Tensor, k: Tensor, factor: float) -> Tensor:
        return (q * factor) @ k.mT

    def capped(self, logits: Tensor, cap: float | None) -> Tensor:
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def biased(self, logits: Tensor, bias: Tensor | None) -> Tensor:
        return logits if bias is None else logits + bias

    def taken(self, mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        return mask

    def diagonal(self, q: Tensor, k: Tensor, options: dict[str, Any]) -> Tensor | None:
        if not options.get("causal"):
            return None
        q_len, kv_len = q.shape[-2], k.shape[-2]
        shift = kv_len - q_len if options.get("alignment") == "lower_right" else 0
        return triangle(q_len, kv_len, shift)

    def both(self, mask: Tensor | None, diagonal: Tensor | None) -> Tensor | None:
        if mask is None or diagonal is None:
            return diagonal if mask is None else mask
        return mask & diagonal

    def hidden(self, logits: Tensor, visible: Tensor | None) -> Tensor:
        return logits if visible is None else logits.masked_fill(~visible, -torch.inf)

    def weighed(self, logits: Tensor) -> Tensor:
        return softmax_of_the_living(logits)

    def averaged(self, weights: Tensor, v: Tensor) -> Tensor:
        return weights @ v

    def given(self, out: Tensor, weights: Tensor, need_weights: bool) -> Tensor | tuple[Tensor, Tensor]:
        return (out, weights) if need_weights else out


def triangle(q_len: int, kv_len: int, shift: int) -> Tensor:
    """True where key j is at most `shift` behind query i."""
    return torch.ones(q_len, kv_len, dtype=torch.bool).tril(shift)


def softmax_of_the_living(logits: Tensor, dim: int = -1) -> Tensor:
    """Softmax; a slice of nothing but -inf gives zeros, and zero gradients."""
    # One more logit that nobody can see would do as well; it would also have to be cut off again.
    alive = (logits > -torch.inf).any(dim, keepdim=True)
    return torch.where(alive, torch.where(alive, logits, torch.zeros_like(logits)).softmax(dim), 0.0)


class PlainScaledDotProduct(Attention):
    """The function on its own."""

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        causal: bool = False,
        alignment: str = "upper_left",
        scale: float | None = None,
        soft_cap: float | None = None,
        need_weights: bool = False,
    ) -> Any:
        options = {
            "causal": causal, "alignment": alignment, "scale": scale, "soft_cap": soft_cap,
            "need_weights": need_weights,
        }  # fmt: skip
        out, weights = self.attend(q, k, v, mask, bias, options)
        return self.given(out, weights, need_weights)


class PlainMultiHead(Attention, MultiHead):
    """Projections around the function; heads are slices of their features."""

    training: bool

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        valid_lens: Tensor | None = None,
        *,
        causal: bool = False,
        alignment: str = "upper_left",
        need_weights: bool = False,
    ) -> Any:
        options = {"causal": causal, "alignment": alignment, "need_weights": need_weights}
        projected = self.projected(q, k, v)
        q, k, v = (self.split(t) for t in projected)
        mask = self.lengths(self.ranked(mask), valid_lens, k.shape[-2])
        out, weights = self.attend(q, k, v, mask, None, options)
        return self.given(self.left(self.joined(out)), weights, need_weights)

    def projected(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(q), self.key(k), self.value(v)

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)

    def ranked(self, mask: Tensor | None) -> Tensor | None:
        return mask[:, None] if mask is not None and mask.dim() == 3 else mask

    def lengths(self, mask: Tensor | None, valid_lens: Tensor | None, kv_len: int) -> Tensor | None:
        if valid_lens is None:
            return mask
        per_query = valid_lens if valid_lens.dim() == 2 else valid_lens[:, None]
        return self.both(mask, (torch.arange(kv_len) < per_query[..., None])[:, None])

    def joined(self, out: Tensor) -> Tensor:
        return out.transpose(1, 2).flatten(2)

    def left(self, joined: Tensor) -> Tensor:
        return self.output(joined)  # type: ignore[no-any-return]  # a module returns a tensor here


class PlainCross(Attention, Cross):
    """One head; keys and values come from y."""

    training: bool

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None, *, need_weights: bool = False) -> Any:
        q, k, v = (t[:, None] for t in self.projected(x, y))
        mask = None if mask is None else mask[:, None]
        out, weights = self.attend(q, k, v, mask, None, {"need_weights": need_weights})
        return self.given(out[:, 0], weights[:, 0], need_weights)

    def projected(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(y), self.value(y)


def without_bias(layer: Any, x: Tensor) -> Tensor:
    """A linear layer whose bias is forgotten."""
    return linear(x, layer.weight)
