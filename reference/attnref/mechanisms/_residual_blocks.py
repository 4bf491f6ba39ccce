"""The residual blocks of the modified ResNet: no convolution strides, an average pool does."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from attnref._checked import ShapeError, checked


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a skip; the pool stands after the first convolution.

    The weight of `norm` is zero at birth: a fresh block gives its skip, rectified.
    """

    expansion = 1

    def __init__(self, channels: int, hidden: int, *, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.out_channels = hidden * self.expansion
        self.main = nn.Sequential(
            *convolved(channels, hidden, kernel=3),
            nn.ReLU(),
            nn.AvgPool2d(stride),
            nn.Conv2d(hidden, self.out_channels, 3, padding=1, bias=False),
        )
        self.norm = nn.BatchNorm2d(self.out_channels)
        self.skip = skip(channels, self.out_channels, stride)
        nn.init.zeros_(self.norm.weight)

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"]
    ) -> Float[Tensor, "batch {self.out_channels} height//{self.stride} width//{self.stride}"]:
        """Add the main path to the skip, and rectify."""
        require_poolable(x, self.stride)
        return relu(self.norm(self.main(x)) + self.skip(x))


class BottleneckBlock(nn.Module):
    """A 3×3 convolution between two 1×1 ones beside a skip; the pool stands after the 3×3 one.

    The weight of `norm` is zero at birth: a fresh block gives its skip, rectified.
    """

    expansion = 4

    def __init__(self, channels: int, hidden: int, *, stride: int = 1) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.out_channels = hidden * self.expansion
        self.main = nn.Sequential(
            *convolved(channels, hidden, kernel=1),
            nn.ReLU(),
            *convolved(hidden, hidden, kernel=3),
            nn.ReLU(),
            nn.AvgPool2d(stride),
            nn.Conv2d(hidden, self.out_channels, 1, bias=False),
        )
        self.norm = nn.BatchNorm2d(self.out_channels)
        self.skip = skip(channels, self.out_channels, stride)
        nn.init.zeros_(self.norm.weight)

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"]
    ) -> Float[Tensor, "batch {self.out_channels} height//{self.stride} width//{self.stride}"]:
        """Add the main path to the skip, and rectify."""
        require_poolable(x, self.stride)
        return relu(self.norm(self.main(x)) + self.skip(x))


def convolved(
    channels: int, out_channels: int, *, kernel: int, stride: int = 1
) -> tuple[nn.Module, nn.Module]:
    """A convolution that keeps the map unless it strides, and the norm that follows it."""
    convolution = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(out_channels)


def skip(channels: int, out_channels: int, stride: int) -> nn.Module:
    """The input itself where shapes agree, else its average pool through a 1×1 convolution."""
    if stride == 1 and channels == out_channels:
        return nn.Identity()
    # Main path and skip pool alike, so both floor: they agree at odd sizes too.
    return nn.Sequential(nn.AvgPool2d(stride), *convolved(channels, out_channels, kernel=1))


def require_poolable(x: Tensor, stride: int) -> None:
    """Raise ShapeError unless the pool leaves at least one pixel."""
    height, width = x.shape[2:]
    if min(height, width) < stride:
        raise ShapeError(
            f"modified_resnet: a block with stride={stride} needs a map of at least that height and "
            f"width, got height={height}, width={width}"
        )
