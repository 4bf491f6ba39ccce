"""CBAM's channel gate with its perceptron in a Sequential of linear layers, with its mistakes."""

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    mistake = ""

    def __init__(self, gate_channels: int, reduction_ratio: int = 4) -> None:
        super().__init__()
        hidden = max(1, gate_channels // reduction_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(gate_channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, gate_channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.size(0), x.size(1)
        gate = self.gate(*self.pooled(x)).view(b, c, 1, 1)
        match self.mistake:
            case "gate_is_the_result":
                return gate.repeat(1, 1, x.size(2), x.size(3))
            case "input_added":
                return x * gate + x
            case "gate_complemented":
                return x * (1 - gate)
            case "gate_detached":
                return x * gate.detach()
        return x * gate

    def pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.reshape(x.size(0), x.size(1), -1)
        mean, maximum = pixels.mean(2), pixels.max(2).values
        match self.mistake:
            case "mean_twice":
                return mean, mean
            case "maximum_twice":
                return maximum, maximum
            case "minimum_instead_of_maximum":
                return mean, pixels.min(2).values
            case "sum_instead_of_mean":
                return pixels.sum(2), maximum
            case "mean_over_batch":
                return mean.mean(0).expand_as(mean), maximum
        return mean, maximum

    def gate(self, mean: Tensor, maximum: Tensor) -> Tensor:
        first, middle, second = self.mlp
        match self.mistake:
            case "maximum_ignored":
                return torch.sigmoid(self.mlp(mean))
            case "rectifier_missing":
                return torch.sigmoid(second(first(mean)) + second(first(maximum)))
            case "added_before_the_rectifier":
                return torch.sigmoid(second(middle(first(mean) + first(maximum))))
            case "averaged_instead_of_added":
                return torch.sigmoid((self.mlp(mean) + self.mlp(maximum)) / 2)
            case "gates_multiplied":
                return torch.sigmoid(self.mlp(mean)) * torch.sigmoid(self.mlp(maximum))
            case "sigmoid_missing":
                return self.mlp(mean) + self.mlp(maximum)
            case "hard_sigmoid":
                return ((self.mlp(mean) + self.mlp(maximum)) / 6 + 0.5).clamp(0, 1)
        return torch.sigmoid(self.mlp(mean) + self.mlp(maximum))


def made(mistake: str = "") -> type[ChannelGate]:
    """The gate with a mistake, without one unless it is named."""
    return type("ChannelGate", (ChannelGate,), {"mistake": mistake})


MISTAKES = (
    "mean_twice", "maximum_twice", "minimum_instead_of_maximum", "sum_instead_of_mean", "mean_over_batch",
    "maximum_ignored", "rectifier_missing", "added_before_the_rectifier", "averaged_instead_of_added",
    "gates_multiplied", "sigmoid_missing", "hard_sigmoid", "gate_is_the_result", "input_added",
    "gate_complemented", "gate_detached",
)  # fmt: skip
