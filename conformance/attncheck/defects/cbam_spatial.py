"""Known mistakes of the spatial gate of CBAM."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.squeeze_excitation import overflowing_sigmoid
from attnref.mechanisms.cbam_spatial import CbamSpatial


class PlainCbamSpatial(CbamSpatial):
    """The convolution on maps of mean and maximum."""

    def forward(self, x: Tensor) -> Any:
        maps = self.stacked(self.mean(x), self.maximum(x))
        return self.applied(x, self.opened(self.convolved(maps)))

    def mean(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)

    def maximum(self, x: Tensor) -> Tensor:
        return x.amax(1, keepdim=True)

    def stacked(self, mean: Tensor, maximum: Tensor) -> Tensor:
        return torch.cat((maximum, mean) if self.maximum_first else (mean, maximum), dim=1)

    def convolved(self, maps: Tensor) -> Tensor:
        return conv2d(maps, self.conv.weight, self.conv.bias, padding=self.kernel // 2)

    def opened(self, logits: Tensor) -> Tensor:
        return (logits if self.norm is None else self.norm(logits)).sigmoid()

    def applied(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


def _padded(mode: str) -> Any:
    def convolved(self: Any, maps: Tensor) -> Tensor:
        # A map smaller than its border cannot be wrapped around: torch raises.
        wide = pad(maps, (self.kernel // 2,) * 4, mode=mode)
        return conv2d(wide, self.conv.weight, self.conv.bias)

    return convolved


DEFECTS: tuple[Defect, ...] = made_in("cbam_spatial", (
    Mistake("mean_twice", "The mean is stacked twice and the maximum never.",
        ("MenghaoGuo/Awesome-Vision-Attentions#32",), "channels > 1", "law", {"maximum": lambda self, x: self.mean(x)}),
    Mistake("minimum_instead_of_maximum", "The minimum is stacked; it is to be the maximum.",
        ("defects CH-6",), "channels > 1", "value", {"maximum": lambda self, x: x.amin(1, keepdim=True)}),
    Mistake("maximum_from_zero", "The maximum begins at zero, above a pixel that is negative in every channel; begin with one.",
        ("tensorflow/tfjs#4854",), "always", "value", {"maximum": lambda self, x: x.amax(1, keepdim=True).clamp(min=0)}),
    Mistake("sum_instead_of_mean", "The sum over channels grows with their number; take the mean.",
        ("defects CH-4",), "channels > 1", "law", {"mean": lambda self, x: x.sum(1, keepdim=True)}),
    Mistake("mean_of_what_is_not_zero", "Zeros are left out of the mean, as of rectified maps; they count.",
        ("errata CB-6",), "channels > 1", "value",
        {"mean": lambda self, x: x.sum(1, keepdim=True) / (x != 0).sum(1, keepdim=True).clamp(min=1)}),
    Mistake("mean_over_pixels", "The mean is taken over pixels; it is to be taken over channels.",
        ("defects CH-9",), "height * width > 1", "value",
        {"mean": lambda self, x: x.mean((1, 2, 3), keepdim=True).expand(-1, 1, *x.shape[2:])}),
    Mistake("mean_over_batch", "The mean is taken over samples as well; each pixel of a sample has its own.",
        ("defects CH-4",), "batch > 1", "law",
        {"mean": lambda self, x: x.mean((0, 1), keepdim=True).expand(x.shape[0], -1, -1, -1)}),
    Mistake("maps_exchanged", "The maximum stands where the weight expects the mean.",
        ("errata 'Not defects' CBAM", "defects CH-9"), "channels > 1", "value",
        {"stacked": lambda self, mean, maximum: torch.cat((mean, maximum) if self.maximum_first else (maximum, mean), dim=1)}),
    Mistake("sigmoid_missing", "The logits are the gate; take their sigmoid.",
        ("Peachypie98/CBAM#2",), "always", "law", {"opened": lambda self, logits: logits}),
    Mistake("sigmoid_overflows", "eˣ / (1 + eˣ) is no number for large logits; take the sigmoid of the library.",
        ("pytorch/executorch#18407",), "always", "value",
        {"opened": lambda self, logits: overflowing_sigmoid(logits if self.norm is None else self.norm(logits))}),
    Mistake("softmax_over_pixels", "Pixels compete under a softmax; each has a sigmoid of its own.",
        ("FudanNLP/fastNLP#254",), "always", "value",
        {"opened": lambda self, logits: logits.flatten(1).softmax(1).reshape(logits.shape)}),
    Mistake("border_repeated", "The border is padded with copies; pad with zeros.",
        ("defects CH-10",), "kernel > 1", "law", {"convolved": _padded("replicate")}),
    Mistake("border_wrapped", "The border is padded with the far side; pad with zeros.",
        ("defects CH-10",), "kernel > 1", "law", {"convolved": _padded("circular")}),
    Mistake("kernel_turned", "Rows and columns of the kernel are exchanged.",
        ("errata VW-1",), "kernel > 1", "value",
        {"convolved": lambda self, m: conv2d(m, self.conv.weight.mT, self.conv.bias, padding=self.kernel // 2)}),
    Mistake("kernel_flipped", "The kernel is turned by half; a convolution of torch does not turn it.",
        ("defects CH-10",), "kernel > 1", "value",
        {"convolved": lambda self, m: conv2d(m, self.conv.weight.flip((-2, -1)), self.conv.bias, padding=self.kernel // 2)}),
    Mistake("padding_of_one", "Every kernel is padded by one, so larger ones shrink the map.",
        ("errata CB-1",), "kernel != 3", "shape",
        {"convolved": lambda self, m: conv2d(m, self.conv.weight, self.conv.bias, padding=1)}),
    Mistake("bias_ignored", "The bias of the convolution is forgotten.",
        ("pytorch/pytorch#51662",), "bias", "value",
        {"convolved": lambda self, m: conv2d(m, self.conv.weight, padding=self.kernel // 2)}),
    Mistake("gate_averaged_over_the_map", "All pixels get the mean gate; each has a gate of its own.",
        ("xmu-xiaoma666/External-Attention-pytorch BAM",), "height * width > 1", "value",
        {"opened": lambda self, logits: logits.sigmoid().mean((-2, -1), keepdim=True)}),
    Mistake("input_added", "The input is added to the gated one; the gate alone scales it.",
        ("xmu-xiaoma666/External-Attention-pytorch CBAM",), "always", "value",
        {"applied": lambda self, x, gate: x * gate + x}),
    Mistake("input_overwritten", "The caller's input is overwritten; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene", {"applied": lambda self, x, gate: x.mul_(gate)}),
    Mistake("maximum_detached", "No gradient flows through the maximum.",
        ("facebookresearch/xformers#636",), "always", "gradient",
        {"maximum": lambda self, x: x.detach().amax(1, keepdim=True)}),
))  # fmt: skip
