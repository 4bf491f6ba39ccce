"""Scaled dot-product attention as a function that takes one query after the other, with its mistakes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def made(mistake: str = "") -> Callable[..., Tensor]:
    """The function with a mistake, without one unless it is named."""

    def scale(q: Tensor, k: Tensor, v: Tensor) -> float:
        match mistake:
            case "scale_inverted":
                return math.sqrt(q.shape[-1])
            case "scale_applied_twice":
                return 1 / q.shape[-1]
            case "scale_by_value_width":
                return 1 / math.sqrt(v.shape[-1])
        return 1 / math.sqrt(q.shape[-1])

    def hide(logits: Tensor, visible: Tensor) -> Tensor:
        match mistake:
            case "mask_added_as_a_number":
                return logits + visible.to(logits.dtype)
            case "mask_multiplies_the_logits":
                return logits * visible
            case "mask_fill_of_minus_ten":
                return torch.where(visible, logits, -10.0)
        return torch.where(visible, logits, -torch.inf)

    def weigh(logits: Tensor) -> Tensor:
        match mistake:
            case "softmax_missing":
                return torch.where(logits.isinf(), 0.0, logits)
            case "sigmoid_instead_of_softmax":
                return 1 / (1 + torch.exp(-logits))
            case "softmax_plus_one":
                one = torch.zeros_like(logits[..., :1])
                return torch.cat([logits, one], -1).softmax(-1)[..., :-1]
            case "weights_rounded_to_bfloat16":
                return logits.softmax(-1).nan_to_num(0.0).to(torch.bfloat16).to(logits.dtype)
        return logits.softmax(-1).nan_to_num(0.0)

    def one_row(row: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        logits = (q[:, :, row, None] * k).sum(-1) * scale(q, k, v)
        visible = None if mask is None else mask.expand(*q.shape[:3], k.shape[2])[:, :, row]
        if causal:
            last = {"causal_hides_the_query_itself": row - 1, "causal_sees_one_ahead": row + 1}.get(
                mistake, row
            )
            early = torch.arange(k.shape[2], device=q.device) <= last
            if mistake == "causal_sees_the_future_only":
                early = torch.arange(k.shape[2], device=q.device) >= row
            visible = early.expand(logits.shape) if visible is None else visible & early
        if mistake == "mask_after_the_softmax" and visible is not None:
            return ((weigh(logits) * visible)[..., None] * v).sum(2)
        weights = weigh(logits if visible is None else hide(logits, visible))
        return (weights[..., None] * v).sum(2)

    def attention(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """`mask` has the shape (batch, heads, queries, keys); True means that a query may attend."""
        match mistake:
            case "cosine_scores":
                query, key = (t / t.norm(dim=-1, keepdim=True) for t in (query, key))
            case "values_are_keys" if value.shape == key.shape:
                value = key
            case "keys_detached":
                key = key.detach()
            case "queries_detached":
                query = query.detach()
            case "last_keys_dropped":
                whole = key.shape[2] if key.shape[2] <= 8 else key.shape[2] // 8 * 8
                key, value = key[:, :, :whole], value[:, :, :whole]
                mask = mask if mask is None else mask[..., :whole]
        rows = [one_row(i, query, key, value, mask, is_causal) for i in range(query.shape[2])]
        return torch.stack(rows, 2) if rows else query.new_zeros(*query.shape[:3], value.shape[3])

    return attention


MISTAKES = (
    "scale_inverted", "scale_applied_twice", "scale_by_value_width", "cosine_scores", "softmax_missing",
    "sigmoid_instead_of_softmax", "softmax_plus_one", "weights_rounded_to_bfloat16",
    "mask_added_as_a_number", "mask_multiplies_the_logits", "mask_fill_of_minus_ten",
    "mask_after_the_softmax", "causal_hides_the_query_itself", "causal_sees_one_ahead",
    "causal_sees_the_future_only", "values_are_keys", "keys_detached", "queries_detached",
    "last_keys_dropped",
)  # fmt: skip
