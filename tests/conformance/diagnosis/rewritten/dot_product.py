"""Dot-product attention as a module without parameters, on batched matrix products, with its mistakes."""

import math

import torch
from torch import Tensor, nn


class DotProductAttention(nn.Module):
    mistake = ""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, valid_lens: Tensor | None = None
    ) -> Tensor:
        match self.mistake:
            case "scores_of_queries_alone" if queries.size(1) == keys.size(1):
                keys = queries
            case "values_are_keys" if keys.size(2) == values.size(2):
                values = keys
            case "values_detached":
                values = values.detach()
        scores = torch.bmm(queries, keys.transpose(1, 2)) * self.factor(queries, keys, values)
        weights = self.weights(scores, valid_lens)
        match self.mistake:
            case "weights_transposed" if queries.size(1) == keys.size(1):
                weights = weights.transpose(1, 2)
            case "weights_detached":
                weights = weights.detach()
        return torch.bmm(self.dropout(weights), values)

    def factor(self, queries: Tensor, keys: Tensor, values: Tensor) -> float:
        match self.mistake:
            case "scale_missing":
                return 1.0
            case "scale_inverted":
                return math.sqrt(queries.size(-1))
            case "scale_by_value_width":
                return 1 / math.sqrt(values.size(-1))
            case "scale_by_key_length":
                return 1 / math.sqrt(max(1, keys.size(1)))
        return 1 / math.sqrt(queries.size(-1))

    def weights(self, scores: Tensor, valid_lens: Tensor | None) -> Tensor:
        dim = {"softmax_over_queries": -2, "softmax_over_batch": 0}.get(self.mistake, -1)
        if valid_lens is None or self.mistake == "lengths_ignored":
            return scores.softmax(dim)
        hidden = self.hidden(scores, valid_lens)
        if self.mistake == "mask_after_the_softmax":
            return scores.softmax(dim).masked_fill(hidden, 0.0)
        fill = 0.0 if self.mistake == "padding_filled_with_zero" else -torch.inf
        return torch.nan_to_num(scores.masked_fill(hidden, fill).softmax(dim))

    def hidden(self, scores: Tensor, valid_lens: Tensor) -> Tensor:
        ends = valid_lens.reshape(scores.size(0), -1, 1)
        columns = torch.ones_like(scores).cumsum(-1)  # 1, 2, 3, …
        match self.mistake:
            case "lengths_off_by_one":
                return columns > ends + 1
            case "lengths_one_too_short":
                return columns >= ends
        return columns > ends


def made(mistake: str = "") -> type[DotProductAttention]:
    """The module with a mistake, without one unless it is named."""
    return type("DotProductAttention", (DotProductAttention,), {"mistake": mistake})


MISTAKES = (
    "scale_missing", "scale_inverted", "scale_by_value_width", "scale_by_key_length",
    "scores_of_queries_alone", "values_are_keys", "values_detached", "weights_detached",
    "weights_transposed", "softmax_over_queries", "softmax_over_batch", "lengths_ignored",
    "lengths_off_by_one", "lengths_one_too_short", "mask_after_the_softmax", "padding_filled_with_zero",
)  # fmt: skip
