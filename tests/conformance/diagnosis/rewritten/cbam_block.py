"""A residual block with both gates of CBAM written out in its forward, with its mistakes."""

import torch
from torch import Tensor, nn


class CBAMResidual(nn.Module):
    mistake = ""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, reduction: int = 4
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.down = nn.Linear(out_channels, out_channels // reduction, bias=False)
        self.up = nn.Linear(out_channels // reduction, out_channels, bias=False)
        self.gate = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.gated(self.features(x))
        skip = self.shortcut(x)
        match self.mistake:
            case "skip_missing":
                return y.relu()
            case "last_rectifier_missing":
                return y + skip
            case "skip_rectified":
                return (y + skip.relu()).relu()
            case "skip_detached":
                return (y + skip.detach()).relu()
        return (y + skip).relu()

    def features(self, x: Tensor) -> Tensor:
        match self.mistake:
            case "first_rectifier_missing":
                return self.bn(self.conv(x))
            case "norm_after_the_rectifier":
                return self.bn(self.conv(x).relu())
            case "norm_missing":
                return self.conv(x).relu()
        return self.bn(self.conv(x)).relu()

    def gated(self, y: Tensor) -> Tensor:
        match self.mistake:
            case "channel_gate_missing":
                return y * self.spatial(y)
            case "spatial_gate_missing":
                return y * self.channel(y)
            case "spatial_gate_first":
                y = y * self.spatial(y)
                return y * self.channel(y)
            case "gates_side_by_side":
                return y * self.channel(y) + y * self.spatial(y)
            case "spatial_gate_sees_ungated_features":
                return y * self.channel(y) * self.spatial(y)
        y = y * self.channel(y)
        return y * self.spatial(y)

    def channel(self, y: Tensor) -> Tensor:
        judged = [self.up(self.down(pooled).relu()) for pooled in (y.mean((2, 3)), y.amax((2, 3)))]
        return torch.sigmoid(judged[0] + judged[1])[:, :, None, None]

    def spatial(self, y: Tensor) -> Tensor:
        return self.gate(torch.stack([y.mean(1), y.amax(1)], 1)).sigmoid()


def made(mistake: str = "") -> type[CBAMResidual]:
    """The block with a mistake, without one unless it is named."""
    return type("CBAMResidual", (CBAMResidual,), {"mistake": mistake})


MISTAKES = (
    "skip_missing", "last_rectifier_missing", "skip_rectified", "skip_detached", "first_rectifier_missing",
    "norm_after_the_rectifier", "norm_missing", "channel_gate_missing", "spatial_gate_missing",
    "spatial_gate_first", "gates_side_by_side", "spatial_gate_sees_ungated_features",
)  # fmt: skip
