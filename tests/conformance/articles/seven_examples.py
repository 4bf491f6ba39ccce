"""The seven examples of the source articles that run, re-made with the mistakes that their own shape tests pass."""

import torch
from torch import Tensor, nn


class SELayer(nn.Module):
    """SE-2: with more reduction than channels the gate has no hidden unit and is 1/2 for every input."""

    def __init__(self, channel: int, reduction: int = 2) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction), nn.ReLU(), nn.Linear(channel // reduction, channel)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc(x.mean((2, 3))))[..., None, None]


class CBAttenRes(nn.Module):
    """CB-1: the pool of the skip is padded for the convolution's kernel, though its own is 3."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, reduction: int = 2
    ) -> None:
        super().__init__()
        assert kernel_size in (3, 5, 7), "the kernel must be 3, 5 or 7"
        pad = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad)
        self.norm = nn.BatchNorm2d(out_channels)
        self.squeeze = nn.Linear(out_channels, out_channels // reduction, bias=False)
        self.excite = nn.Linear(out_channels // reduction, out_channels, bias=False)
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=pad, bias=False)
        self.downsample = nn.Sequential(nn.MaxPool2d(3, stride, pad), nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        pooled = torch.stack([y.mean((2, 3)), y.amax((2, 3))])
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))).sum(0))[..., None, None]
        maps = torch.stack([y.mean(1), y.amax(1)], dim=1)
        return torch.relu(y * torch.sigmoid(self.spatial(maps)) + self.downsample(x))


class SKEConv(nn.Module):
    """SK-2: the features are given their axis in place, so that no backward pass survives."""

    def __init__(self, in_channels: int, M: int = 2, G: int = 2, reduction: int = 2, L: int = 32) -> None:
        super().__init__()
        d = max(in_channels // reduction, L)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, in_channels, 3 + 2 * i, padding=1 + i, groups=G),
                nn.BatchNorm2d(in_channels),
                nn.ReLU(),
            )
            for i in range(M)
        )
        self.fc = nn.Linear(in_channels, d)
        self.fcs = nn.ModuleList(nn.Linear(d, in_channels) for _ in range(M))

    def forward(self, x: Tensor) -> Tensor:
        features = torch.cat([conv(x).unsqueeze_(1) for conv in self.convs], dim=1)
        z = self.fc(features.sum(1).mean((2, 3)))
        gates = torch.stack([fc(z) for fc in self.fcs], dim=1).softmax(1)
        return (features * gates[..., None, None]).sum(1)


class SelfAttnSpatial(nn.Module):
    """SS-1: an eighth of fewer than eight channels is none."""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (conv(x).flatten(2) for conv in (self.query_conv, self.key_conv, self.value_conv))
        attention = torch.softmax(q.mT @ k, dim=-1)
        return self.gamma * (v @ attention.mT).view_as(x) + x


class SelfAttnChannel(nn.Module):
    """SC-1: what is added to the attended features is not the input but a convolution of it."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, out_dim, 1)
        self.key_conv = nn.Conv2d(in_dim, out_dim, 1)
        self.value_conv = nn.Conv2d(in_dim, out_dim, 1)
        self.x_conv = nn.Conv2d(in_dim, out_dim, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (conv(x).flatten(2) for conv in (self.query_conv, self.key_conv, self.value_conv))
        out = torch.softmax(q @ k.mT, dim=-1) @ v
        return self.gamma * out.unflatten(2, x.shape[2:]) + self.x_conv(x)


class NonLocalBlock(nn.Module):
    """NL-1: a clip is said to be [batch, time, channels, height, width]; read so, it attends along other axes."""

    def __init__(self, in_channels: int, inter_channels: int, sub_sample: bool = True) -> None:
        super().__init__()
        self.g = nn.Conv3d(in_channels, inter_channels, 1)
        self.theta = nn.Conv3d(in_channels, inter_channels, 1)
        self.phi = nn.Conv3d(in_channels, inter_channels, 1)
        self.W = nn.Sequential(nn.Conv3d(inter_channels, in_channels, 1), nn.BatchNorm3d(in_channels))
        if sub_sample:
            pool = nn.MaxPool3d((1, 2, 2))
            self.g, self.phi = (nn.Sequential(layer, pool) for layer in (self.g, self.phi))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.theta(x).flatten(2), self.phi(x).flatten(2), self.g(x).flatten(2)
        y = v @ torch.softmax(q.mT @ k, dim=-1).mT
        return self.W(y.unflatten(2, x.shape[2:])) + x


class CrossAttention(nn.Module):
    """CA-1, CA-2, CA-3: values are projected from projected keys, and scores scaled by the output's width."""

    def __init__(self, in_dim: int, out_dim: int, in_q_dim: int, hid_q_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(in_q_dim, hid_q_dim, bias=False)
        self.key = nn.Linear(in_dim, out_dim, bias=False)
        self.value = nn.Linear(in_dim, out_dim, bias=False)
        self.scale = out_dim**-0.5

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        queries = self.query(x)
        keys = self.key(y)
        values = self.value(keys)
        return torch.softmax(queries @ keys.mT * self.scale, dim=-1) @ values
