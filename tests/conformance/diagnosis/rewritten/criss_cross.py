"""CCNet's attention with the column's own pixel at minus infinity, as its authors do it, with its mistakes."""

import torch
from torch import Tensor, nn


class CrissCrossAttention(nn.Module):
    mistake = ""

    def __init__(self, in_dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // ratio, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // ratio, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.query_conv(x), self.key_conv(x)
        if self.mistake == "keys_projected_like_queries":
            k = q
        down = torch.einsum("bchw,bcgw->bhwg", q, k)
        across = torch.einsum("bchw,bchv->bhwv", q, k)
        if self.mistake == "logits_scaled":
            down, across = (e / q.shape[1] ** 0.5 for e in (down, across))
        if self.mistake != "pixel_counted_twice":
            own = torch.eye(x.shape[2], dtype=torch.bool, device=x.device)[None, :, None]
            down = down.masked_fill(own, -torch.inf)
        read = self.read(*self.weights(down, across), self.value_conv(x))
        match self.mistake:
            case "gamma_ignored":
                return read + x
            case "input_not_added":
                return self.gamma * read
            case "gamma_on_the_input":
                return read + self.gamma * x
            case "gamma_detached":
                return self.gamma.detach() * read + x
        return self.gamma * read + x

    def weights(self, down: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        height = down.shape[-1]
        alone = down.softmax(-1).nan_to_num(0.0)
        match self.mistake:
            case "softmax_for_column_and_row":
                return alone, across.softmax(-1)
            case "softmaxes_averaged":
                return alone / 2, across.softmax(-1) / 2
            case "row_only":
                return torch.zeros_like(down), across.softmax(-1)
        both = torch.cat([down, across], dim=-1).softmax(-1)
        return both[..., :height], both[..., height:]

    def read(self, down: Tensor, across: Tensor, v: Tensor) -> Tensor:
        row = "bhvw" if self.mistake == "row_weights_turned" else "bhwv"
        return torch.einsum("bhwg,bcgw->bchw", down, v) + torch.einsum(f"{row},bchv->bchw", across, v)


def made(mistake: str = "") -> type[CrissCrossAttention]:
    """The layer with a mistake, without one unless it is named."""
    return type("CrissCrossAttention", (CrissCrossAttention,), {"mistake": mistake})


MISTAKES = (
    "pixel_counted_twice", "softmax_for_column_and_row", "softmaxes_averaged", "row_only",
    "row_weights_turned", "logits_scaled", "keys_projected_like_queries",
    "gamma_ignored", "input_not_added", "gamma_on_the_input", "gamma_detached",
)  # fmt: skip
