"""CLIP's ResNet with bottlenecks in one list and torch's own attention in the head, square images only, with its mistakes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int, mistake: str) -> None:
        super().__init__()
        self.stride, self.mistake = stride, mistake
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inplanes != planes * 4:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride),
                nn.Conv2d(inplanes, planes * 4, 1, bias=False),
                nn.BatchNorm2d(planes * 4),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(F.avg_pool2d(out, self.stride)))
        skip = x if self.downsample is None else self.downsample(x)
        match self.mistake:
            case "skip_missing":
                return F.relu(out)
            case "rectifier_after_the_sum_missing":
                return out + skip
            case "rectified_before_the_sum":
                return F.relu(out) + skip
        return F.relu(out + skip)


class AttentionPool(nn.Module):
    def __init__(self, side: int, embed_dim: int, num_heads: int, output_dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, embed_dim) / embed_dim**0.5)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.c_proj = nn.Linear(embed_dim, output_dim)
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + self.positional_embedding
        q, k, v = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        read = F.scaled_dot_product_attention(q, k, v)
        return self.c_proj(read.transpose(1, 2).flatten(1))


class ModifiedResNet(nn.Module):
    mistake = ""

    def __init__(
        self, layers: tuple[int, ...], output_dim: int, heads: int, input_resolution: int, width: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.blocks, features = nn.ModuleList(), width
        for stage, count in enumerate(layers):
            for index in range(count):
                stride = 2 if stage and not index else 1
                self.blocks.append(Bottleneck(features, width * 2**stage, stride, self.mistake))
                features = width * 2**stage * 4
        self.attnpool = AttentionPool(input_resolution // 32, features, heads, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        if self.mistake != "last_rectifier_of_the_stem_missing":
            x = F.relu(x)
        match self.mistake:
            case "maximum_after_the_stem":
                x = F.max_pool2d(x, 2)
            case "pool_takes_every_second_pixel":
                x = x[:, :, : x.shape[2] // 2 * 2 : 2, : x.shape[3] // 2 * 2 : 2]
            case _:
                x = F.avg_pool2d(x, 2)
        for block in self.blocks:
            x = block(x)
        return self.attnpool(x)


def made(mistake: str = "") -> type[ModifiedResNet]:
    """The network with a mistake, without one unless it is named."""
    return type("ModifiedResNet", (ModifiedResNet,), {"mistake": mistake})


MISTAKES = (
    "maximum_after_the_stem", "pool_takes_every_second_pixel", "last_rectifier_of_the_stem_missing",
    "skip_missing", "rectifier_after_the_sum_missing", "rectified_before_the_sum",
)  # fmt: skip
