"""Multi-head attention with one packed layer for each of its inputs and a loop over heads, with its mistakes."""

import torch
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    mistake = ""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        assert d_model % num_heads == 0, "d_model must be divisible by num_heads"
        self.h, self.d_k = num_heads, d_model // num_heads
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """`mask` is (batch, queries, keys), True where a query may look."""
        q, k, v = self.projected(query, key, value)
        seen = self.visible(q, k, mask, causal)
        queries, keys, values = (self.split(t) for t in (q, k, v))
        weights = [self.attend(a, b, seen) for a, b in zip(queries, keys, strict=True)]
        match self.mistake:
            case "first_head_serves_all":
                weights = weights[:1] * self.h
            case "weights_averaged_over_heads_first":
                weights = [sum(weights[1:], weights[0]) / self.h] * self.h
        out = self.join([w @ c for w, c in zip(weights, values, strict=True)])
        match self.mistake:
            case "output_projection_missing":
                return out
            case "output_bias_ignored":
                return out @ self.w_o.weight.T
        return self.w_o(out)

    def projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        match self.mistake:
            case "values_taken_from_keys":
                return self.w_q(query), self.w_k(key), self.w_v(key)
            case "keys_projected_like_queries":
                return self.w_q(query), self.w_q(key), self.w_v(value)
            case "values_not_projected":
                return self.w_q(query), self.w_k(key), value
            case "query_bias_ignored":
                return query @ self.w_q.weight.T, self.w_k(key), self.w_v(value)
            case "value_bias_ignored":
                return self.w_q(query), self.w_k(key), value @ self.w_v.weight.T
            case "keys_detached":
                return self.w_q(query), self.w_k(key).detach(), self.w_v(value)
        return self.w_q(query), self.w_k(key), self.w_v(value)

    def visible(self, q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        seen = torch.ones(q.shape[0], q.shape[1], k.shape[1], dtype=torch.bool, device=q.device)
        if causal and self.mistake != "causal_ignored":
            seen = seen.tril(1 if self.mistake == "causal_sees_one_ahead" else 0)
        if mask is None or self.mistake == "mask_ignored":
            return seen
        if self.mistake == "mask_of_the_first_sample":
            mask = mask[:1]
        return mask.expand_as(seen) if self.mistake == "causal_gives_way_to_a_mask" else seen & mask

    def split(self, x: Tensor) -> list[Tensor]:
        if self.mistake == "heads_split_without_transposing":
            heads = x.reshape(x.shape[0], self.h, x.shape[1], self.d_k)
            return [heads[:, i] for i in range(self.h)]
        if self.mistake == "heads_interleaved_when_split":
            return [x[:, :, i :: self.h] for i in range(self.h)]
        return list(x.split(self.d_k, dim=2))

    def attend(self, q: Tensor, k: Tensor, seen: Tensor) -> Tensor:
        width = {
            "scale_missing": 1,
            "scale_by_all_heads": self.h * self.d_k,
            "scale_applied_twice": self.d_k**2,
        }.get(self.mistake, self.d_k)
        scores = torch.bmm(q, k.mT) / width**0.5
        fill = -10.0 if self.mistake == "mask_fill_of_minus_ten" else float("-inf")
        if self.mistake == "mask_after_the_softmax":
            return scores.softmax(2) * seen
        weights = scores.where(seen, torch.full_like(scores, fill)).softmax(
            dim=1 if self.mistake == "softmax_over_queries" else 2
        )
        return weights.nan_to_num(0.0)

    def join(self, heads: list[Tensor]) -> Tensor:
        match self.mistake:
            case "heads_interleaved_when_joined":
                return torch.stack(heads, dim=3).flatten(2)
            case "heads_reversed_when_joined":
                return torch.cat(heads[::-1], dim=2)
            case "heads_joined_without_transposing":
                whole = torch.stack(heads, dim=1)
                return whole.reshape(whole.shape[0], whole.shape[2], -1)
        return torch.cat(heads, dim=2)


def made(mistake: str = "") -> type[MultiHeadAttention]:
    """The module with a mistake, without one unless it is named."""
    return type("MultiHeadAttention", (MultiHeadAttention,), {"mistake": mistake})


MISTAKES = (
    "scale_missing", "scale_by_all_heads", "scale_applied_twice", "softmax_over_queries",
    "first_head_serves_all", "weights_averaged_over_heads_first", "heads_split_without_transposing",
    "heads_interleaved_when_split", "heads_interleaved_when_joined", "heads_reversed_when_joined",
    "heads_joined_without_transposing", "values_taken_from_keys",
    "keys_projected_like_queries", "values_not_projected", "query_bias_ignored", "value_bias_ignored",
    "output_bias_ignored", "output_projection_missing", "keys_detached", "causal_ignored",
    "causal_sees_one_ahead", "mask_ignored", "mask_of_the_first_sample", "causal_gives_way_to_a_mask",
    "mask_fill_of_minus_ten", "mask_after_the_softmax",
)  # fmt: skip
