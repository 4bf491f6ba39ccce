"""Squeeze-and-excitation with two 1×1 convolutions and a pooling layer, right and with one mistake at a time."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SEBlock(nn.Module):
    mistake = ""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // reduction, kernel_size=1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.activate(self.fc2(self.middle(self.fc1(self.squeeze(x)))))
        match self.mistake:
            case "gate_is_the_result":
                return gate.expand_as(x)
            case "input_added":
                return x + x * gate
            case "gate_complemented":
                return x - x * gate
            case "gate_detached":
                return x * gate.data
        return x * gate

    def squeeze(self, x: Tensor) -> Tensor:
        match self.mistake:
            case "mean_over_batch":
                return self.pool(x).mean(0, keepdim=True).repeat(x.size(0), 1, 1, 1)
            case "mean_over_rows_only":
                return F.adaptive_avg_pool2d(x[:, :, :, :1], 1)
            case "sum_instead_of_mean":
                return torch.einsum("bchw->bc", x)[:, :, None, None]
            case "maximum_instead_of_mean":
                return F.adaptive_max_pool2d(x, 1)
            case "gate_for_every_pixel":
                return x
        return self.pool(x)

    def middle(self, hidden: Tensor) -> Tensor:
        match self.mistake:
            case "rectifier_missing":
                return hidden
            case "sigmoid_in_the_middle":
                return F.sigmoid(hidden)
        return F.relu(hidden)

    def activate(self, logits: Tensor) -> Tensor:
        match self.mistake:
            case "sigmoid_missing":
                return logits
            case "softmax_gate":
                return F.softmax(logits, dim=1)
            case "hard_sigmoid":
                return F.hardsigmoid(logits)
        return torch.sigmoid(logits)


def made(mistake: str = "") -> type[SEBlock]:
    """The block with a mistake, without one unless it is named."""
    return type("SEBlock", (SEBlock,), {"mistake": mistake})


MISTAKES = (
    "mean_over_batch", "mean_over_rows_only", "sum_instead_of_mean", "maximum_instead_of_mean",
    "gate_for_every_pixel", "rectifier_missing", "sigmoid_in_the_middle", "sigmoid_missing",
    "softmax_gate", "hard_sigmoid", "gate_is_the_result", "input_added", "gate_complemented", "gate_detached",
)  # fmt: skip
