"""Bahdanau's attention that scores key by key, right and with one mistake at a time."""

import math

import torch
from torch import Tensor, nn


class BahdanauAttention(nn.Module):
    mistake = ""

    def __init__(self, query_dim: int, key_dim: int, attn_dim: int) -> None:
        super().__init__()
        self.W_q = nn.Linear(query_dim, attn_dim, bias=False)
        self.W_k = nn.Linear(key_dim, attn_dim, bias=False)
        self.v = nn.Linear(attn_dim, 1, bias=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, valid_lens: Tensor | None = None) -> Tensor:
        asking = self.W_q(query).detach() if self.mistake == "queries_without_gradient" else self.W_q(query)
        scores = [self.score(asking, self.W_k(key[:, j : j + 1])) for j in range(key.shape[1])]
        if not scores:
            return value.new_zeros(query.shape[0], query.shape[1], value.shape[2])
        weights = self.normalised(torch.stack(scores, dim=2), valid_lens)
        match self.mistake:
            case "unprojected_keys_averaged" if key.shape[2] == value.shape[2]:
                value = key
            case "projected_keys_averaged" if self.W_k.out_features == value.shape[2]:
                value = self.W_k(key)
            case "values_detached":
                value = value.detach()
        return torch.matmul(weights, value)

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        match self.mistake:
            case "tanh_missing":
                return self.v(query + key).squeeze(-1)
            case "tanh_after_the_sum":
                return self.v(query + key).squeeze(-1).tanh()
            case "relu_instead_of_tanh":
                return self.v(torch.relu(query + key)).squeeze(-1)
            case "features_multiplied":
                return self.v(torch.tanh(query * key)).squeeze(-1)
            case "score_weight_ignored":
                return torch.tanh(query + key).sum(-1)
            case "scores_scaled":
                return self.v(torch.tanh(query + key)).squeeze(-1) / math.sqrt(query.shape[-1])
        return self.v(torch.tanh(query + key)).squeeze(-1)

    def normalised(self, scores: Tensor, valid_lens: Tensor | None) -> Tensor:
        visible = torch.ones_like(scores, dtype=torch.bool)
        if valid_lens is not None and self.mistake != "lengths_ignored":
            ends = valid_lens.view(len(scores), -1, 1)
            if self.mistake == "lengths_one_too_short":
                ends = ends - 1
            visible = torch.arange(scores.shape[2], device=scores.device).expand_as(scores) < ends
        dim = 1 if self.mistake == "softmax_over_queries" else 2
        # The largest visible power of a row is 1: only a row that sees nothing has less than that in all.
        lowest = torch.finfo(scores.dtype).min
        top = scores.masked_fill(~visible, lowest).amax(dim, keepdim=True)
        powers = torch.exp((scores - top) * visible) * visible
        return powers / powers.sum(dim, keepdim=True).clamp(min=1.0)


def made(mistake: str = "") -> type[BahdanauAttention]:
    """The module with a mistake, without one unless it is named."""
    return type("BahdanauAttention", (BahdanauAttention,), {"mistake": mistake})


MISTAKES = (
    "tanh_missing", "tanh_after_the_sum", "relu_instead_of_tanh", "features_multiplied",
    "score_weight_ignored", "scores_scaled", "unprojected_keys_averaged", "projected_keys_averaged",
    "queries_without_gradient", "values_detached", "lengths_ignored", "lengths_one_too_short",
    "softmax_over_queries",
)  # fmt: skip
