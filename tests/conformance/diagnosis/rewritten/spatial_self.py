"""SAGAN's self-attention on flattened maps with bmm, right and with one mistake at a time."""

import torch
from torch import Tensor, nn


class SelfAttention2d(nn.Module):
    mistake = ""

    def __init__(self, in_dim: int, k: int = 2) -> None:
        super().__init__()
        self.inner = in_dim // k
        self.query_conv = nn.Conv2d(in_dim, self.inner, kernel_size=1)
        self.key_conv = nn.Conv2d(in_dim, self.inner, kernel_size=1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        maps = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        if self.mistake == "channels_mixed_when_flattened":
            maps = tuple(m.permute(0, 2, 3, 1).contiguous() for m in maps)
        q, k, v = (m.view(b, c, h * w) for m, c in zip(maps, (self.inner, self.inner, c), strict=True))
        q = q.permute(0, 2, 1)
        match self.mistake:
            case "queries_detached":
                q = q.detach()
            case "keys_detached":
                k = k.detach()
        attention = self.attention(torch.bmm(q, k))
        if self.mistake == "weights_transposed":
            attention = attention.permute(0, 2, 1)
        read = torch.bmm(v, attention.permute(0, 2, 1))
        if self.mistake == "height_and_width_exchanged":
            return self.sum(x, read.view(b, c, w, h).permute(0, 1, 3, 2))
        return self.sum(x, read.view(b, c, h, w))

    def attention(self, energy: Tensor) -> Tensor:
        match self.mistake:
            case "logits_scaled":
                energy = energy / self.inner**0.5
            case "softmax_missing":
                return energy
        dim = {"softmax_over_queries": 1, "softmax_over_batch": 0}.get(self.mistake, 2)
        return nn.functional.softmax(energy, dim=dim)

    def sum(self, x: Tensor, out: Tensor) -> Tensor:
        match self.mistake:
            case "gamma_ignored":
                return out + x
            case "input_not_added":
                return self.gamma * out
            case "gamma_on_the_input":
                return out + self.gamma * x
            case "gamma_detached":
                return self.gamma.detach() * out + x
        return self.gamma * out + x


def made(mistake: str = "") -> type[SelfAttention2d]:
    """The layer with a mistake, without one unless it is named."""
    return type("SelfAttention2d", (SelfAttention2d,), {"mistake": mistake})


MISTAKES = (
    "softmax_over_queries", "softmax_over_batch", "softmax_missing", "weights_transposed", "logits_scaled",
    "gamma_ignored", "input_not_added", "gamma_on_the_input", "gamma_detached", "queries_detached",
    "keys_detached", "height_and_width_exchanged", "channels_mixed_when_flattened",
)  # fmt: skip
