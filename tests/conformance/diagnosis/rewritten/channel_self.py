"""DANet's channel attention by the paper, in einsums without any reshape, with its mistakes."""

import torch
from torch import Tensor, nn


class ChannelAttentionModule(nn.Module):
    mistake = ""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        attention = self.attention(torch.einsum("nihw,njhw->nij", x, x), x.shape[2] * x.shape[3])
        match self.mistake:
            case "weights_transposed":
                read = torch.einsum("nji,njhw->nihw", attention, x)
            case "weights_detached":
                read = torch.einsum("nij,njhw->nihw", attention.detach(), x)
            case _:
                read = torch.einsum("nij,njhw->nihw", attention, x)
        match self.mistake:
            case "gamma_ignored":
                return read + x
            case "input_not_added":
                return self.beta * read
            case "gamma_on_the_input":
                return read + self.beta * x
            case "gamma_detached":
                return read * self.beta.data + x
        return self.beta * read + x

    def attention(self, energy: Tensor, pixels: int) -> Tensor:
        match self.mistake:
            case "energies_averaged_over_pixels":
                energy = energy / pixels
            case "energies_scaled":
                energy = energy / pixels**0.5
            case "softmax_missing":
                return energy
        dim = {"softmax_over_rows": 1, "softmax_over_batch": 0}.get(self.mistake, 2)
        return torch.softmax(energy, dim)


def made(mistake: str = "") -> type[ChannelAttentionModule]:
    """The module with a mistake, without one unless it is named."""
    return type("ChannelAttentionModule", (ChannelAttentionModule,), {"mistake": mistake})


MISTAKES = (
    "energies_averaged_over_pixels", "energies_scaled", "softmax_over_rows", "softmax_over_batch",
    "softmax_missing", "weights_transposed", "weights_detached", "gamma_ignored", "input_not_added",
    "gamma_on_the_input", "gamma_detached",
)  # fmt: skip
