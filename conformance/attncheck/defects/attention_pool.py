"""Known mistakes of attention pooling."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.attention_pool import AttentionPool


class PlainAttentionPool(AttentionPool):
    """Tokens, positions and one query, one step a method."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        tokens = self.placed(self.pixels(x))
        q = self.split(self.query(self.asking(tokens)))
        k, v = self.split(self.key(self.seen(tokens))), self.split(self.value(self.seen(tokens)))
        weights = self.weighed(q @ k.mT * self.factor(q))
        out = self.left(self.joined(weights @ v))
        return (out, weights[:, :, 0]) if need_weights else out

    def pixels(self, x: Tensor) -> Tensor:
        return x.flatten(2).mT

    def placed(self, pixels: Tensor) -> Tensor:
        return torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + self.position

    def asking(self, tokens: Tensor) -> Tensor:
        return tokens[:, :1]

    def seen(self, tokens: Tensor) -> Tensor:
        return tokens

    def split(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:2], self.heads, self.channels // self.heads).transpose(1, 2)

    def factor(self, q: Tensor) -> float:
        return float(q.shape[-1] ** -0.5)

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def joined(self, out: Tensor) -> Tensor:
        return out.transpose(1, 2).flatten(2)[:, 0]

    def left(self, joined: Tensor) -> Tensor:
        return self.output(joined)  # type: ignore[no-any-return]  # a module returns a tensor here


def _placed_before_the_mean(self: Any, pixels: Tensor) -> Tensor:
    placed = pixels + self.position[1:]
    return torch.cat([placed.mean(1, keepdim=True) + self.position[:1], placed], 1)


def _mean_without_position(self: Any, pixels: Tensor) -> Tensor:
    return torch.cat([pixels.mean(1, keepdim=True), pixels + self.position[1:] + 0 * self.position[:1]], 1)


def _positions_rolled(self: Any, pixels: Tensor) -> Tensor:
    tokens = torch.cat([pixels.mean(1, keepdim=True), pixels], 1)
    return torch.add(tokens, self.position.roll(1, 0))


def _maximum_asks(self: Any, pixels: Tensor) -> Tensor:
    return torch.add(torch.cat([pixels.amax(1, keepdim=True), pixels], 1), self.position)


def _batch_as_length(self: Any, tokens: Tensor) -> Tensor:
    return PlainAttentionPool.split(self, tokens.transpose(0, 1).reshape(tokens.shape))


DEFECTS: tuple[Defect, ...] = made_in("attention_pool", (
    Mistake("last_token_asks", "The last pixel asks; the mean of all pixels is to ask.",
        ("defects CH-20",), "always", "law", {"asking": lambda self, tokens: tokens[:, -1:]}),
    Mistake("first_pixel_asks", "The first pixel asks; the mean of all pixels is to ask.",
        ("defects CH-20",), "height * width > 1", "law", {"asking": lambda self, tokens: tokens[:, 1:2]}),
    Mistake("maximum_asks", "The maximum of the pixels asks; the mean is to ask.",
        ("defects CH-20",), "height * width > 1", "value", {"placed": _maximum_asks}),
    Mistake("positions_before_the_mean", "The mean is taken of pixels with positions; take it before.",
        ("defects CH-20",), "always", "value", {"placed": _placed_before_the_mean}),
    Mistake("mean_without_position", "The mean token gets no position; it has one of its own.",
        ("defects CH-20", "clip-vil/CLIP-ViL#18"), "always", "value", {"placed": _mean_without_position}),
    Mistake("positions_rolled", "The mean token's position stands last in the table; it stands first.",
        ("defects CH-20",), "always", "value", {"placed": _positions_rolled}),
    Mistake("positions_ignored", "Positions are learned and never added.",
        ("clip-vil/CLIP-ViL#13",), "always", "value",
        {"placed": lambda self, pixels: torch.cat([pixels.mean(1, keepdim=True), pixels], 1) + 0 * self.position}),
    Mistake("mean_is_no_key", "The mean token is not looked at; it is a key too.",
        ("defects CH-20",), "always", "value", {"seen": lambda self, tokens: tokens[:, 1:]}),
    Mistake("pixels_counted_by_columns", "The map is flattened column by column; positions count row by row.",
        ("defects CH-20",), "height > 1 and width > 1", "value", {"pixels": lambda self, x: x.mT.flatten(2).mT}),
    Mistake("map_reshaped_without_transposing", "The map is reshaped to tokens without moving the channels last.",
        ("errata RN-4",), "height * width > 1", "law", {"pixels": lambda self, x: x.reshape(x.shape[0], -1, x.shape[1])}),
    Mistake("samples_attend_to_each_other", "The batch is read as the sequence, so samples mix.",
        ("errata RN-5",), "batch > 1", "law", {"split": _batch_as_length}),
    Mistake("scale_missing", "The logits are not scaled; divide them by √head_dim.",
        ("huggingface/pytorch-image-models#1839",), "channels > heads", "value", {"factor": lambda self, q: 1.0}),
    Mistake("scale_by_all_heads", "The logits are divided by √channels; the width of one head counts.",
        ("huggingface/pytorch-image-models#1839",), "heads > 1", "value", {"factor": lambda self, q: self.channels**-0.5}),
    Mistake("heads_interleaved_when_joined", "The features of all heads are interleaved; put them side by side.",
        ("defects HD-1",), "heads > 1 and channels > heads", "value", {"joined": lambda self, out: out[:, :, 0].mT.flatten(1)}),
    Mistake("output_projection_missing", "The pooled token comes back as it is where widths allow it.",
        ("errata RN-10",), "classes == channels", "value",
        {"left": lambda self, joined: joined if self.classes == self.channels else self.output(joined)}),
    Mistake("positions_without_gradient", "No gradient flows to the positions.",
        ("facebookresearch/xformers#636",), "always", "gradient",
        {"placed": lambda self, p: torch.cat([p.mean(1, keepdim=True), p], 1) + self.position.detach()}),
    Mistake("dropout_when_evaluating", "Dropout is active in eval mode; pass training=self.training.",
        ("errata RN-10",), "always", "hygiene",
        {"weighed": lambda self, logits: torch.nn.functional.dropout(logits.softmax(-1), 0.1, training=True)}),
))  # fmt: skip
