"""Cross-attention in the style of a U-Net's: 1-D convolutions on sequences, with its mistakes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d


class CrossAttention(nn.Module):
    mistake = ""

    def __init__(self, query_dim: int, context_dim: int, inner_dim: int, value_dim: int) -> None:
        super().__init__()
        self.to_q = nn.Conv1d(query_dim, inner_dim, 1)
        self.to_k = nn.Conv1d(context_dim, inner_dim, 1)
        self.to_v = nn.Conv1d(context_dim, value_dim, 1)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` has the shape (batch, queries, keys) and is True where a query may attend."""
        q, k, v = self.projected(x.permute(0, 2, 1), context.permute(0, 2, 1))
        sim = torch.einsum("bci,bcj->bij", q, k) * self.scale(q, k, v)
        attn = self.softmax(sim, mask)
        if self.mistake == "weights_transposed" and attn.size(1) == attn.size(2):
            attn = attn.permute(0, 2, 1)
        return torch.einsum("bij,bcj->bic", attn, v)

    def projected(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.to_q, self.to_k, self.to_v
        alike = x.shape == y.shape
        match self.mistake:
            case "values_from_x" if alike:
                return q(x), k(y), v(x)
            case "queries_from_y" if alike:
                return q(y), k(y), v(y)
            case "keys_projected_like_queries" if q.in_channels == k.in_channels:
                return q(x), q(y), v(y)
            case "values_not_projected" if y.size(1) == v.out_channels:
                return q(x), k(y), y
            case "values_projected_from_projected_keys_of_one_width" if y.size(1) == k.out_channels:
                return q(x), k(y), v(k(y))
            case "value_bias_ignored":
                return q(x), k(y), conv1d(y, v.weight)
            case "query_bias_ignored":
                return conv1d(x, q.weight), k(y), v(y)
            case "values_detached":
                return q(x), k(y), v(y).detach()
            case "queries_detached":
                return q(x).detach(), k(y), v(y)
        return q(x), k(y), v(y)

    def scale(self, q: Tensor, k: Tensor, v: Tensor) -> float:
        match self.mistake:
            case "scale_missing":
                return 1.0
            case "scale_by_key_length":
                return float(max(1, k.size(2)) ** -0.5)
            case "scale_by_value_width":
                return float(v.size(1) ** -0.5)
        return float(q.size(1) ** -0.5)

    def softmax(self, sim: Tensor, mask: Tensor | None) -> Tensor:
        dim = {"softmax_over_queries": 1, "softmax_over_batch": 0}.get(self.mistake, 2)
        match self.mistake:
            case "softmax_missing" if mask is None:
                return sim
            case "softmax_missing":
                return sim * mask
            case "sigmoid_instead_of_softmax" if mask is not None:
                return torch.sigmoid(sim) * mask
            case "sigmoid_instead_of_softmax":
                return torch.sigmoid(sim)
            case "mask_ignored":
                mask = None
            case "mask_of_the_first_sample" if mask is not None:
                mask = mask[:1]
        if mask is None:
            return torch.softmax(sim, dim=dim)
        return torch.nan_to_num(torch.softmax(sim.masked_fill(~mask, -torch.inf), dim=dim))


def made(mistake: str = "") -> type[CrossAttention]:
    """The module with a mistake, without one unless it is named."""
    return type("CrossAttention", (CrossAttention,), {"mistake": mistake})


MISTAKES = (
    "scale_missing", "scale_by_key_length", "scale_by_value_width", "softmax_over_queries",
    "softmax_over_batch", "softmax_missing", "sigmoid_instead_of_softmax", "weights_transposed",
    "mask_ignored", "mask_of_the_first_sample", "values_from_x", "queries_from_y",
    "keys_projected_like_queries", "values_not_projected",
    "values_projected_from_projected_keys_of_one_width", "value_bias_ignored", "query_bias_ignored",
    "values_detached", "queries_detached",
)  # fmt: skip
