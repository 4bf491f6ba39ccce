"""Attention between pixels in plain torch, and the mistakes that any of its forms can have."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from attncheck.defects.defect import Mistake


class Pixels:
    """softmax(q kᵀ) v for tensors whose axes are batch, features, positions, one step a method."""

    query: Any
    key: Any
    value: Any

    def flat(self, projected: Tensor) -> Tensor:
        return projected.flatten(2)

    def queried(self, x: Tensor) -> Tensor:
        return at_every_position(self.query, x)

    def keyed(self, x: Tensor) -> Tensor:
        return at_every_position(self.key, x)

    def valued(self, x: Tensor) -> Tensor:
        return at_every_position(self.value, x)

    def attended(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.related(self.scored(q, k) * self.factor(q, k))
        return self.averaged(weights, v), weights

    def related(self, logits: Tensor) -> Tensor:
        return self.weighed(logits)

    def factor(self, q: Tensor, k: Tensor) -> float:
        return 1.0

    def scored(self, q: Tensor, k: Tensor) -> Tensor:
        return q.mT @ k

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def averaged(self, weights: Tensor, v: Tensor) -> Tensor:
        return v @ weights.mT

    def unfolded(self, read: Tensor, x: Tensor) -> Tensor:
        return read.reshape(*read.shape[:2], *x.shape[2:])


def at_every_position(layer: Any, x: Tensor) -> Tensor:
    """A convolution whose kernel is one wide, for maps without entries too."""
    if layer is None:
        return x
    return nn.functional.linear(x.movedim(1, -1), layer.weight.flatten(1), layer.bias).movedim(-1, 1)


def _turned(self: Any, weights: Tensor, v: Tensor) -> Tensor:
    return v @ (weights if weights.shape[-1] == weights.shape[-2] else weights.mT)


def _mixed_axes(self: Any, projected: Tensor) -> Tensor:
    batch, features = projected.shape[:2]
    return (
        projected.movedim(1, -1).reshape(batch, features, -1) if projected.numel() else projected.flatten(2)
    )


def _exchanged(self: Any, read: Tensor, x: Tensor) -> Tensor:
    if x.dim() < 4:
        return read.reshape(*read.shape[:2], *x.shape[2:])
    *lead, height, width = (*read.shape[:2], *x.shape[2:])
    return read.reshape(*lead, width, height).mT


PIXELS: tuple[Mistake, ...] = (
    Mistake("softmax_over_queries", "The softmax runs over queries; for each query it is to run over keys.",
        ("brain-research/self-attention-gan#17", "speedinghzl/CCNet PAM_Module"), "height * width > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(-2)}),
    Mistake("softmax_over_batch", "The softmax runs over samples; it is to run over keys.",
        ("xmu-xiaoma666/External-Attention-pytorch A2Attention",), "batch > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(0)}),
    Mistake("softmax_missing", "The products themselves are the weights; take their softmax.",
        ("errata SF-2",), "always", "law", {"weighed": lambda self, logits: logits}),
    Mistake("weights_transposed", "The values are averaged with the transposed weights.",
        ("heykeetae/Self-Attention-GAN#11", "junfu1115/DANet#64"), "height * width > 1", "law", {"averaged": _turned}),
    Mistake("values_read_from_keys", "Values come from the keys' projection where widths allow it.",
        ("errata CA-1", "facebookresearch/Motionformer#6"), "always", "value",
        {"valued": lambda self, x: _like(self.keyed(x), Pixels.valued(self, x))}),
    Mistake("channels_mixed_when_flattened", "The map is reshaped channels last and read channels first.",
        ("open-mmlab/mmdetection#2322", "nnUyi/Non-Local_Nets-Tensorflow#8"), "channels > 1", "law", {"flat": _mixed_axes}),
    Mistake("height_and_width_exchanged", "The result is folded back as width × height.",
        ("lironui/Linear-Attention-Mechanism#2", "BIGBALLON/distribuuuu#9"), "height > 1 and width > 1", "law",
        {"unfolded": _exchanged}),
    Mistake("queries_detached", "No gradient flows through the queries.",
        ("facebookresearch/xformers#636",), "height * width > 1", "gradient",
        {"queried": lambda self, x: Pixels.queried(self, x).detach()}),
    Mistake("keys_detached", "No gradient flows through the keys.",
        ("facebookresearch/xformers#636",), "height * width > 1", "gradient",
        {"keyed": lambda self, x: Pixels.keyed(self, x).detach()}),
    Mistake("dropout_when_evaluating", "Dropout of the weights is active in eval mode; pass training=self.training.",
        ("pytorch/pytorch#124464",), "always", "hygiene",
        {"weighed": lambda self, logits: dropout(logits.softmax(-1), 0.1, training=True)}),
    Mistake("softmax_in_float32", "The softmax is computed in float32, which costs float64 half its digits.",
        ("huggingface/transformers#48459",), "height * width > 1", "value",
        {"weighed": lambda self, logits: logits.float().softmax(-1).to(logits.dtype)}, needs="--strict"),
)  # fmt: skip

SCALED: tuple[Mistake, ...] = (
    Mistake("logits_scaled", "The logits are divided by √reduced; here they are not scaled.",
        ("errata SS-3",), "reduced > 1 and height * width > 1", "value", {"factor": lambda self, q, k: q.shape[1] ** -0.5}),
)  # fmt: skip

GAMMA: tuple[Mistake, ...] = (
    Mistake("gamma_ignored", "What is read is added as it is; multiply it by gamma.",
        ("open-mmlab/mmdetection#5190",), "always", "law", {"added": lambda self, read, x: read + x + 0 * self.gamma}),
    Mistake("input_not_added", "What is read comes back alone; add the input.",
        ("errata SC-1",), "always", "law", {"added": lambda self, read, x: self.gamma * read}),
    Mistake("gamma_on_the_input", "gamma multiplies the input; it multiplies what is read.",
        ("errata SC-1",), "always", "law", {"added": lambda self, read, x: read + self.gamma * x}),
    Mistake("input_added_in_place", "The result is added into the caller's input.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene",
        {"added": lambda self, read, x: x.add_(self.gamma * read)}),
    Mistake("gamma_detached", "No gradient flows to gamma, so it stays zero for ever.",
        ("errata SS-4",), "always", "gradient", {"added": lambda self, read, x: self.gamma.detach() * read + x}),
)  # fmt: skip


def _like(found: Tensor, wanted: Tensor) -> Tensor:
    """The found features, repeated or cut to the wanted number."""
    times = -(-wanted.shape[1] // max(found.shape[1], 1))
    return torch.cat([found] * times, dim=1)[:, : wanted.shape[1]]
