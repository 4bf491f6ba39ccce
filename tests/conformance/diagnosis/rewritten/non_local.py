"""The non-local block with theta, phi and g and an optional sub-sampling, with its mistakes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NonLocalBlock(nn.Module):
    mistake = ""

    def __init__(self, in_channels: int, inter_channels: int, sub_sample: bool = False) -> None:
        super().__init__()
        self.inter_channels, self.sub_sample = inter_channels, sub_sample
        self.theta = nn.Conv2d(in_channels, inter_channels, 1)
        self.phi = nn.Conv2d(in_channels, inter_channels, 1)
        self.g = nn.Conv2d(in_channels, inter_channels, 1)
        self.out = nn.Conv2d(inter_channels, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.theta(x), self.pooled(self.phi(x)), self.pooled(self.g(x))
        match self.mistake:
            case "queries_detached":
                q = q.detach()
            case "keys_detached":
                k = k.detach()
            case "values_read_from_keys":
                v = k
            case "channels_mixed_when_flattened":
                q, k, v = (m.permute(0, 2, 3, 1).reshape(m.shape) for m in (q, k, v))
        logits = self.logits(q, k)
        weights = self.weights(logits)
        if self.mistake == "weights_transposed" and weights.size(1) == weights.size(2):
            weights = weights.transpose(1, 2)
        read = (weights @ v.flatten(2).transpose(1, 2)).transpose(1, 2)
        if self.mistake == "height_and_width_exchanged":
            folded = read.unflatten(2, (x.size(3), x.size(2))).transpose(2, 3)
        else:
            folded = read.unflatten(2, (x.size(2), x.size(3)))
        return self.added(x, folded)

    def pooled(self, projected: Tensor) -> Tensor:
        if not self.sub_sample:
            return projected
        return (
            F.avg_pool2d(projected, 2)
            if self.mistake == "keys_averaged_when_pooled"
            else F.max_pool2d(projected, 2)
        )

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.einsum("ncp,ncs->nps", q.flatten(2), k.flatten(2))

    def weights(self, logits: Tensor) -> Tensor:
        if self.mistake == "softmax_missing":
            return logits
        return logits.softmax({"softmax_over_queries": 1, "softmax_over_batch": 0}.get(self.mistake, 2))

    def added(self, x: Tensor, read: Tensor) -> Tensor:
        match self.mistake:
            case "input_not_added":
                return self.out(read)
            case "output_projection_of_the_weight_only":
                return x + F.conv2d(read, self.out.weight)
        return x + self.out(read)


def made(mistake: str = "") -> type[NonLocalBlock]:
    """The block with a mistake, without one unless it is named."""
    return type("NonLocalBlock", (NonLocalBlock,), {"mistake": mistake})


MISTAKES = (
    "softmax_over_queries", "softmax_over_batch", "softmax_missing", "weights_transposed",
    "values_read_from_keys", "channels_mixed_when_flattened", "height_and_width_exchanged",
    "queries_detached", "keys_detached", "input_not_added", "keys_averaged_when_pooled",
    "output_projection_of_the_weight_only",
)  # fmt: skip
