"""Mistakes in scores, softmax and values that any attention over keys can have."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attncheck.defects.attention import Attention, softmax_of_the_living
from attncheck.defects.defect import Mistake


def _softmax_over(dim: int | tuple[int, int]) -> Any:
    def weighed(self: Attention, logits: Tensor) -> Tensor:
        if isinstance(dim, int):
            return softmax_of_the_living(logits, dim)
        return softmax_of_the_living(logits.flatten(*dim)).reshape(logits.shape)

    return weighed


def _rounded_factor(self: Attention, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
    return float(torch.tensor(q.shape[-1], dtype=torch.float32) ** -0.5) if scale is None else scale


def _exponentials(self: Attention, logits: Tensor) -> Tensor:
    weights = logits.exp()
    return weights / weights.sum(-1, keepdim=True).clamp(
        min=1e-300 if logits.dtype == torch.float64 else 1e-38
    )


def _sink(self: Attention, logits: Tensor) -> Tensor:
    weights = logits.exp()
    return weights / (1 + weights.sum(-1, keepdim=True))


def _cleaned_late(self: Attention, logits: Tensor) -> Tensor:
    return logits.softmax(-1).nan_to_num(0.0)


def _added_infinities(self: Attention, logits: Tensor, visible: Tensor | None) -> Tensor:
    if visible is None:
        return logits
    return logits + torch.zeros_like(logits).masked_fill(~visible, -torch.inf)


def _turned(self: Attention, weights: Tensor, v: Tensor) -> Tensor:
    square = weights.shape[-1] == weights.shape[-2]
    return (weights.mT if square else weights) @ v


SCORES: tuple[Mistake, ...] = (
    Mistake(
        "scale_missing",
        "The logits are not scaled; divide q kᵀ by √head_dim.",
        ("Project-MONAI/GenerativeModels#146", "delzac/cntkx#10"),
        "head_dim > 1 and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: 1.0 if scale is None else scale},
    ),
    Mistake(
        "scale_inverted",
        "The logits are multiplied by √head_dim; divide by it.",
        ("esceptico/perceiver-io#9",),
        "head_dim > 1 and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: q.shape[-1] ** 0.5 if scale is None else scale},
    ),
    Mistake(
        "scale_applied_twice",
        "The logits are divided by head_dim; divide by its square root, once.",
        ("NVIDIA/Megatron-LM#848",),
        "head_dim > 1 and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: q.shape[-1] ** -1.0 if scale is None else scale},
    ),
    Mistake(
        "scale_by_value_width",
        "The logits are divided by √v_dim; the width of queries and keys counts, √head_dim.",
        ("cneuralnetwork/solving-ml-papers#1",),
        "v_dim != head_dim and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: v.shape[-1] ** -0.5 if scale is None else scale},
    ),
    Mistake(
        "scale_by_key_length",
        "The logits are divided by √kv_len; divide by √head_dim, whatever the length.",
        ("InternLM/xtuner#873",),
        "kv_len != head_dim and kv_len > 1",
        "law",
        {"factor": lambda self, q, k, v, scale: max(k.shape[-2], 1) ** -0.5 if scale is None else scale},
    ),
    Mistake(
        "scale_in_float32",
        "1/√head_dim is rounded to float32, which costs float64 half its digits; use math.sqrt.",
        ("errata MH-6",),
        "head_dim not in (1, 4, 16, 64, 256, 1024)",
        "value",
        {"factor": _rounded_factor},
        needs="--strict",
    ),
    Mistake(
        "cosine_scores",
        "Queries and keys are normalised to length one; their plain products are the scores.",
        ("defects, section 13",),
        "always",
        "value",
        {"scored": lambda self, q, k, factor: (normalize(q, dim=-1) * factor) @ normalize(k, dim=-1).mT},
    ),
    Mistake(
        "softmax_over_queries",
        "The softmax runs over queries; for each query it is to run over keys.",
        ("labmlai/annotated_deep_learning_paper_implementations#146", "brain-research/self-attention-gan#17"),
        "q_len > 1 or kv_len > 1",
        "law",
        {"weighed": _softmax_over(-2)},
    ),
    Mistake(
        "softmax_over_batch",
        "The softmax runs over samples, as one without `dim` does; it is to run over keys.",
        ("xmu-xiaoma666/External-Attention-pytorch A2Attention", "PetrochukM/PyTorch-NLP#2"),
        "batch > 1 or kv_len > 1",
        "law",
        {"weighed": _softmax_over(0)},
    ),
    Mistake(
        "softmax_over_all_pairs",
        "One softmax runs over all pairs of query and key; each query needs a softmax of its own.",
        ("gjylt/DoubleAttentionNet#3",),
        "q_len > 1",
        "law",
        {"weighed": _softmax_over((-2, -1))},
    ),
    Mistake(
        "softmax_missing",
        "The logits themselves are the weights; take their softmax.",
        ("errata SF-2",),
        "always",
        "law",
        {"weighed": lambda self, logits: logits.masked_fill(logits.isneginf(), 0.0)},
    ),
    Mistake(
        "sigmoid_instead_of_softmax",
        "Every logit is squashed by itself; the weights of a query are to add up to one: softmax.",
        ("defects, section 13",),
        "always",
        "law",
        {"weighed": lambda self, logits: logits.sigmoid()},
    ),
    Mistake(
        "softmax_plus_one",
        "One is added to the denominator of the softmax, so weights add up to less than one.",
        ("kyegomez/AttentionIsOFFByOne#2",),
        "always",
        "law",
        {"weighed": _sink},
    ),
    Mistake(
        "softmax_overflows",
        "exp is taken of the logits as they are and overflows; subtract the largest of a row first.",
        ("pytorch/executorch#18407", "mila-iqia/blocks#727"),
        "always",
        "value",
        {"weighed": _exponentials},
    ),
    Mistake(
        "dead_rows_cleaned_after_the_softmax",
        "NaN of fully masked rows is replaced after the softmax, and their gradients stay NaN; clean the logits.",
        ("Xilinx/brevitas#1591",),
        "always",
        "gradient",
        {"hidden": _added_infinities, "weighed": _cleaned_late},
    ),
    Mistake(
        "weights_rounded_to_bfloat16",
        "The weights pass through bfloat16; keep them in the dtype of the inputs, or in float32.",
        ("pytorch/pytorch#123911",),
        "kv_len > 1",
        "value",
        {"weighed": lambda self, logits: softmax_of_the_living(logits).bfloat16().to(logits.dtype)},
    ),
    Mistake(
        "weights_transposed",
        "The values are averaged with the transposed weights; multiply the weights by the values, not turned.",
        ("heykeetae/Self-Attention-GAN#11",),
        "q_len == kv_len and q_len > 1",
        "law",
        {"averaged": _turned},
    ),
    Mistake(
        "values_are_keys",
        "The keys are averaged where the values belong.",
        ("yflyzhang/AnnotatedTransformer#1",),
        "v_dim == head_dim",
        "law",
        {"prepared": lambda self, q, k, v, options: (q, k, k if k.shape == v.shape else v)},
    ),
    Mistake(
        "last_keys_dropped",
        "Keys beyond the last full block of eight are dropped; the last block may be partly filled.",
        ("pytorch/pytorch#159247", "pytorch/attention-gym#50"),
        "kv_len > 8 and kv_len % 8 != 0",
        "value",
        {
            "prepared": lambda self, q, k, v, options: (q, *_whole_blocks(k, v)),
            "taken": lambda self, mask, q, k: _whole_mask(mask, k),
        },
    ),
    Mistake(
        "keys_past_1024_left_out",
        "Of more than 1024 keys the first 1024 are attended to; the softmax runs over all.",
        ("NVIDIA/apex#916",),
        "kv_len > 1024",
        "value",
        {
            "prepared": lambda self, q, k, v, options: (q, k[..., :1024, :], v[..., :1024, :]),
            "taken": lambda self, mask, q, k: _whole_mask(mask, k),
        },
    ),
    Mistake(
        "weights_given_before_the_softmax",
        "The weights that come back are the logits; give back what multiplied the values.",
        ("Dao-AILab/flash-attention#902",),
        "always",
        "value",
        {"given": lambda self, out, weights, need: (out, weights.clamp(min=1e-30).log()) if need else out},
    ),
    Mistake(
        "weights_given_transposed",
        "The weights come back with queries and keys exchanged.",
        ("mlverse/torch#542",),
        "q_len > 1 or kv_len > 1",
        "value",
        {"given": lambda self, out, weights, need: (out, weights.mT) if need else out},
    ),
)  # fmt: skip


def _whole_blocks(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    whole = k.shape[-2] // 8 * 8 or k.shape[-2]
    return k[..., :whole, :], v[..., :whole, :]


def _whole_mask(mask: Tensor | None, k: Tensor) -> Tensor | None:
    return mask if mask is None or mask.shape[-1] == 1 else mask[..., : k.shape[-2]]
