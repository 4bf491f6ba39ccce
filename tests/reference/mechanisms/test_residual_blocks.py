"""The blocks of the modified ResNet, and how those of the source article round odd maps."""

import pytest
import torch
from torch import nn

from attnref import ShapeError
from attnref.mechanisms._residual_blocks import BasicBlock, BottleneckBlock

every_block = pytest.mark.parametrize("make", [BasicBlock, BottleneckBlock])


def halved(x):
    """Means over squares of two by slicing; an odd last row or column is dropped."""
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


class ArticleBlock(nn.Module):
    """RN-3: the convolution strides, and rounds up; only the skip pools, and rounds down."""

    def __init__(self, channels, hidden, *, stride):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, stride, 1), nn.ReLU(), nn.Conv2d(hidden, hidden, 3, 1, 1)
        )
        self.skip = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(channels, hidden, 1))

    def forward(self, x):
        return torch.relu(self.main(x) + self.skip(x))


def shape_or_crash(block, x):
    try:
        return tuple(block(x).shape[2:])
    except RuntimeError:
        return "crash"


@pytest.mark.parametrize(
    ("side", "printed"), [(2, (1, 1)), (3, (2, 2)), (4, (2, 2)), (5, "crash"), (7, "crash"), (8, (4, 4))]
)
def test_main_path_and_skip_halve_odd_maps_alike(device, side, printed):
    """RN-6 crashes at odd sides from 5; RN-7, at 3, stretches the skip over the main path."""
    x = torch.ones(2, 3, side, side, device=device)

    assert shape_or_crash(ArticleBlock(3, 4, stride=2).to(device), x) == printed
    for make in (BasicBlock, BottleneckBlock):
        assert shape_or_crash(make(3, 4, stride=2).to(device), x) == (side // 2, side // 2)


@every_block
def test_a_fresh_block_that_strides_sees_only_the_means_of_squares(maker, agrees, device, make):
    """RN-3: the skip pools before it projects; a strided projection would see one pixel in four."""
    block = make(3, 4, stride=2).to(device, torch.float64)
    x = maker(0)(2, 3, 6, 4)
    means = halved(x).repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert not block.norm.weight.any()
    assert agrees(block(x), block(means))
    nn.init.ones_(block.norm.weight)
    assert not agrees(block(x), block(means))


@every_block
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_finite_differences(maker, randomise, make, stride):
    block = randomise(make(2, 3, stride=stride))

    assert torch.autograd.gradcheck(block, (maker(0)(2, 2, 5, 4).requires_grad_(),))


@every_block
def test_a_block_refuses_a_map_that_its_pool_would_swallow(device, make):
    """RN-8."""
    with pytest.raises(ShapeError) as error:
        make(3, 4, stride=2).to(device)(torch.ones(2, 3, 1, 5, device=device))

    assert str(error.value) == (
        "modified_resnet: a block with stride=2 needs a map of at least that height and width, "
        "got height=1, width=5"
    )
