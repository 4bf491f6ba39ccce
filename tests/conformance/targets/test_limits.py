"""Sizes at which a target is another than the reference by right, and where it is not judged."""

import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID
from attnref.mechanisms.selective_kernel import SelectiveKernel


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


class SumOfHeads(nn.Module):
    """Every head has matrices of its own, an output layer among them, though there be one head."""

    def __init__(self, model_dim: int, heads: int) -> None:
        super().__init__()
        width = model_dim // heads
        self.heads = nn.ModuleList(
            nn.ParameterDict(
                {name: torch.randn(model_dim, width) for name in ("query", "key", "value")}
                | {"output": torch.randn(width, model_dim)}
            )
            for _ in range(heads)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.read(x, head) for head in self.heads]).sum(0)

    def read(self, x: Tensor, head: nn.ParameterDict) -> Tensor:
        q, k, v = (x @ head[name] for name in ("query", "key", "value"))
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v @ head["output"]


def test_an_output_layer_for_each_head_is_there_for_one() -> None:
    found = discover(SumOfHeads, BY_ID["multi_head"])

    assert (found.certainty, found.unprojected) == ("verified", "")


def test_a_squeeze_that_rounds_up_is_judged_where_nothing_is_rounded() -> None:
    rule = "channels % reduction == 0"

    assert discover(RoundsUp, BY_ID["cbam_channel"]).refuses == (rule,)
    assert discover(RoundsDown, BY_ID["cbam_channel"]).refuses == ()
    report = run(RoundsUp, mechanism="cbam_channel", budget="quick", isolate=False, seed=1)
    assert report.conforms
    assert f"only sizes with {rule}: others are refused, rounded or padded otherwise" in report.header.adapter


class PaddedByStride(SelectiveKernel):
    """Every convolution is padded by half of what its kernel and its stride reach beyond a pixel."""

    def __init__(self, channels: int, stride: int = 1, groups: int = 1, *, extra: int = 0) -> None:
        super().__init__(channels, stride=stride, groups=groups)
        for conv in self.conv:
            reach = conv.dilation[0] * (conv.kernel_size[0] - 1)
            conv.padding = ((stride - 1 + reach) // 2 + extra,) * 2

    def forward(self, x: Tensor) -> Tensor:
        features = torch.stack(
            [norm(conv(x)).relu() for conv, norm in zip(self.conv, self.norm, strict=True)]
        )
        squeezed = self.squeeze_norm(self.squeeze(features.sum(0).mean((2, 3)))).relu()
        weights = torch.stack([excite(squeezed) for excite in self.excite]).softmax(0)
        return (weights[..., None, None] * features).sum(0)


class PaddedTooFar(PaddedByStride):
    def __init__(self, channels: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, stride, groups, extra=stride // 3)


def test_strides_that_a_convolution_is_padded_for_are_judged_up_to_two() -> None:
    assert discover(PaddedByStride, BY_ID["selective_kernel"]).refuses == ("stride <= 2",)
    assert discover(SelectiveKernel, BY_ID["selective_kernel"]).refuses == ()
    assert discover(PaddedTooFar, BY_ID["selective_kernel"]).refuses == ()
    assert run(PaddedByStride, mechanism="selective_kernel", budget="quick", isolate=False, seed=1).conforms
