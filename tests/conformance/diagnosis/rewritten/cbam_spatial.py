"""CBAM's spatial gate with its convolution spelled out over unfolded neighbourhoods, with its mistakes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialGate(nn.Module):
    mistake = ""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, "kernel size must be odd"
        self.kernel_size = kernel_size
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.squashed(self.convolved(self.maps(x)))
        if self.mistake == "gate_averaged_over_the_map":
            gate = gate.mean((2, 3), keepdim=True)
        return x + gate * x if self.mistake == "input_added" else gate * x

    def maps(self, x: Tensor) -> Tensor:
        mean, maximum = x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]
        match self.mistake:
            case "mean_twice":
                maximum = mean
            case "minimum_instead_of_maximum":
                maximum = -(-x).max(1, keepdim=True)[0]
            case "sum_instead_of_mean":
                mean = x.sum(1, keepdim=True)
            case "mean_over_batch":
                mean = mean.mean(0, keepdim=True).expand_as(mean)
            case "mean_over_pixels":
                mean = x.mean((1, 2, 3), keepdim=True).expand_as(mean)
            case "maximum_detached":
                maximum = maximum.detach()
        return torch.cat((mean, maximum), dim=1)

    def convolved(self, maps: Tensor) -> Tensor:
        weight, reach = self.conv.weight, self.kernel_size // 2
        mode = {"border_repeated": "replicate", "border_wrapped": "circular"}.get(self.mistake, "constant")
        match self.mistake:
            case "kernel_turned":
                weight = weight.transpose(2, 3)
            case "kernel_flipped":
                weight = weight.flip((2, 3))
        padded = F.pad(maps, (reach,) * 4, mode=mode)
        patches = F.unfold(padded, self.kernel_size)
        logits = (weight.reshape(1, -1, 1) * patches).sum(1, keepdim=True).unflatten(2, maps.shape[2:])
        bias = self.conv.bias
        return logits if bias is None or self.mistake == "bias_ignored" else logits + bias

    def squashed(self, logits: Tensor) -> Tensor:
        match self.mistake:
            case "sigmoid_missing":
                return logits
            case "softmax_over_pixels":
                return logits.flatten(2).softmax(2).view_as(logits)
        return logits.sigmoid()


def made(mistake: str = "") -> type[SpatialGate]:
    """The gate with a mistake, without one unless it is named."""
    return type("SpatialGate", (SpatialGate,), {"mistake": mistake})


MISTAKES = (
    "mean_twice", "minimum_instead_of_maximum", "sum_instead_of_mean", "mean_over_batch",
    "mean_over_pixels", "sigmoid_missing", "softmax_over_pixels", "border_repeated",
    "border_wrapped", "kernel_turned", "kernel_flipped", "bias_ignored", "gate_averaged_over_the_map",
    "input_added", "maximum_detached",
)  # fmt: skip
