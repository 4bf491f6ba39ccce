"""A gate may come back alone; what it leaves of the input is judged."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.notes import notes_of
from attnref.catalogue import BY_ID


class ChannelGate(nn.Module):
    """As the paper defines it: one number for each channel of a sample."""

    def __init__(self, in_planes: int, ratio: int = 16) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(in_planes, max(1, in_planes // ratio), 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(max(1, in_planes // ratio), in_planes, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)) + self.fc(x.amax((2, 3), keepdim=True)))


class WithoutTheMaximum(ChannelGate):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(2 * self.fc(x.mean((2, 3), keepdim=True)))


class FlatGate(ChannelGate):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(1)


class SpreadOut(ChannelGate):
    """This one has the shape of the product, and is not the product."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).expand(x.shape).clone()


@pytest.mark.parametrize(
    ("target", "code"), [(ChannelGate, 0), (FlatGate, 0), (WithoutTheMaximum, 1), (SpreadOut, 1)]
)
def test_a_gate_of_channels_is_judged_by_what_it_leaves(target: type[nn.Module], code: int) -> None:
    report = run(target, mechanism="cbam_channel", isolate=False, seed=1, budget="quick")

    assert report.exit_code == code


class PixelGate(nn.Module):
    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(torch.stack([x.mean(1), x.amax(1)], 1)))


class FlatPixelGate(PixelGate):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 0]


@pytest.mark.parametrize("target", [PixelGate, FlatPixelGate])
def test_a_gate_of_pixels_is_judged_by_what_it_leaves(target: type[nn.Module]) -> None:
    report = run(target, mechanism="cbam_spatial", isolate=False, seed=1, budget="quick")

    assert report.conforms
    assert "the gate alone comes back: the input times it is judged" in notes_of(
        discover(target, BY_ID["cbam_spatial"])
    )
