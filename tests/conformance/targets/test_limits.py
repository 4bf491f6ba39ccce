"""Sizes at which a target is another than the reference by right, and where it is not judged."""

import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class RoundsUp(nn.Module):
    """The channel gate with a unit more where the reduction leaves a rest."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        units = -(-channels // reduction)
        self.squeeze = nn.Linear(channels, units, bias=False)
        self.excite = nn.Linear(units, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.stack([x.mean((2, 3)), x.amax((2, 3))])
        return x * self.excite(self.squeeze(pooled).relu()).sum(0).sigmoid()[..., None, None]


class RoundsDown(RoundsUp):
    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__(channels // reduction * reduction, reduction)
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)


def test_a_squeeze_that_rounds_up_is_judged_where_nothing_is_rounded() -> None:
    rule = "channels % reduction == 0"

    assert discover(RoundsUp, BY_ID["cbam_channel"]).refuses == (rule,)
    assert discover(RoundsDown, BY_ID["cbam_channel"]).refuses == ()
    report = run(RoundsUp, mechanism="cbam_channel", budget="quick", isolate=False, seed=1)
    assert report.conforms
    assert f"only sizes with {rule}: others are refused, or rounded otherwise" in report.header.adapter
