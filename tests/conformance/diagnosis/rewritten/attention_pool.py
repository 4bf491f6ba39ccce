"""CLIP's attention pool with tokens first and a loop over heads, right and with one mistake at a time."""

import torch
from torch import Tensor, nn


class AttentionPool2d(nn.Module):
    mistake = ""

    def __init__(self, height: int, width: int, embed_dim: int, num_heads: int, output_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.positional_embedding = nn.Parameter(torch.randn(height * width + 1, embed_dim) / embed_dim**0.5)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.c_proj = nn.Linear(embed_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(self.pixels(x))
        asking = {"last_token_asks": -1, "first_pixel_asks": 1}.get(self.mistake, 0)
        q = self.q_proj(tokens[asking])
        if self.mistake == "mean_is_no_key":
            tokens = tokens[1:]
        k, v = self.k_proj(tokens), self.v_proj(tokens)
        width = q.shape[1] // self.num_heads
        read = []
        for start in range(0, q.shape[1], width):
            own = slice(start, start + width)
            logits = (q[None, :, own] * k[:, :, own]).sum(2) / self.root(width, q.shape[1])
            read.append((logits.softmax(0)[:, :, None] * v[:, :, own]).sum(0))
        if self.mistake == "heads_interleaved_when_joined":
            return self.c_proj(torch.stack(read, dim=2).flatten(1))
        return self.c_proj(torch.cat(read, dim=1))

    def root(self, width: int, channels: int) -> float:
        match self.mistake:
            case "scale_missing":
                return 1.0
            case "scale_by_all_heads":
                return float(channels**0.5)
        return float(width**0.5)

    def pixels(self, x: Tensor) -> Tensor:
        """Positions, samples, channels."""
        match self.mistake:
            case "pixels_counted_by_columns":
                x = x.transpose(2, 3)
            case "map_reshaped_without_transposing":
                return x.reshape(x.shape[0], -1, x.shape[1]).transpose(0, 1)
        return x.flatten(2).permute(2, 0, 1)

    def tokens(self, pixels: Tensor) -> Tensor:
        places = self.positional_embedding[:, None]
        mean = pixels.mean(0, keepdim=True)
        match self.mistake:
            case "maximum_asks":
                mean = pixels.amax(0, keepdim=True)
            case "positions_before_the_mean":
                placed = pixels + places[1:]
                return torch.cat([placed.mean(0, keepdim=True) + places[:1], placed])
            case "mean_without_position":
                return torch.cat([mean, pixels + places[1:]])
            case "positions_rolled":
                places = places.roll(1, dims=0)
            case "positions_ignored":
                return torch.cat([mean, pixels])
            case "positions_without_gradient":
                places = places.detach()
        return torch.cat([mean, pixels]) + places


def made(mistake: str = "") -> type[AttentionPool2d]:
    """The pool with a mistake, without one unless it is named."""
    return type("AttentionPool2d", (AttentionPool2d,), {"mistake": mistake})


MISTAKES = (
    "last_token_asks", "first_pixel_asks", "maximum_asks", "positions_before_the_mean",
    "mean_without_position", "positions_rolled", "positions_ignored", "mean_is_no_key",
    "pixels_counted_by_columns", "map_reshaped_without_transposing", "scale_missing", "scale_by_all_heads",
    "heads_interleaved_when_joined", "positions_without_gradient",
)  # fmt: skip
