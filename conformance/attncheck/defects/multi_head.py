"""Known mistakes of multi-head attention."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from attncheck.defects.attention import Attention, PlainMultiHead, softmax_of_the_living, without_bias
from attncheck.defects.attention_masks import CAUSAL, MASKS
from attncheck.defects.attention_scores import SCORES
from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.lengths import LENGTHS
from attncheck.defects.manners import MANNERS
from attncheck.defects.scaled_dot_product import OWN as FUNCTION

Triple = tuple[Tensor, Tensor, Tensor]

# Mistakes of the function that live inside, between split and join.
_INSIDE = ("scale_by_all_heads", "softmax_over_heads", "mask_of_samples_on_heads", "mask_tiled_over_heads")


def _of_keys(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    key = self.key(k)
    return self.query(q), key, self.value(key)


def _of_keys_where_it_fits(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    key = self.key(k)
    return self.query(q), key, self.value(key if key.shape == v.shape else v)


def _values_from_keys(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    return self.query(q), self.key(k), self.value(k if k.shape == v.shape else v)


def _memory_is_the_query(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    return self.query(q), self.key(q if q.shape == k.shape else k), self.value(v)


def _one_projection(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    key = self.query if self.query.weight.shape == self.key.weight.shape else self.key
    return self.query(q), key(k), self.value(v)


def _one_memory_projection(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    value = self.key if self.key.weight.shape == self.value.weight.shape else self.value
    return self.query(q), self.key(k), value(v)


def _plain_values(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    value = self.value(v)
    return self.query(q), self.key(k), v if v.shape == value.shape else value


def _without_bias_for_one(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    value = without_bias(self.value, v) if k is v and k is not q else self.value(v)
    return self.query(q), self.key(k), value


def _in_place(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Triple:
    return self.query(q.mul_(0.5)) * 2, self.key(k), self.value(v)


def _swapped(self: Any, x: Tensor) -> Tensor:
    batch, length = x.shape[:2]
    return x.reshape(length, batch, self.heads, -1).permute(1, 2, 0, 3)


def _left_first(self: Any, out: Tensor) -> Tensor:
    flat = out.flatten(0, 1)
    return flat.reshape(self.heads, -1, *flat.shape[1:]).permute(1, 2, 0, 3).flatten(2)


def _stacked(self: Any, x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], x.shape[-1] // self.heads, self.heads).permute(0, 3, 1, 2)


def _unlisted(self: Any, *arguments: Any, **named: Any) -> None:
    PlainMultiHead.__init__(self, *arguments, **named)
    hidden = self.output
    del self.output
    self.__dict__["layers"] = [hidden]


def _through_the_list(self: Any, joined: Tensor) -> Tensor:
    layer: nn.Linear = self.__dict__["layers"][0]
    return linear(
        joined, layer.weight.to(joined.dtype), None if layer.bias is None else layer.bias.to(joined.dtype)
    )


def _renewed(self: Any, joined: Tensor) -> Tensor:
    out: Tensor = self.output(joined)
    self.output.weight = nn.Parameter(self.output.weight.detach() * 0.99)
    return out


def _normed(self: Any, joined: Tensor) -> Tensor:
    with torch.no_grad():
        self.output.weight.mul_(0.99)
    out: Tensor = self.output(joined)
    return out


def _buffered(self: Any, logits: Tensor) -> Tensor:
    self.register_buffer("bound", torch.ones(logits.shape[-1], dtype=torch.bool))
    return softmax_of_the_living(logits)


def _unscaled_in_training(self: Any, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
    return 1.0 if self.training else Attention.factor(self, q, k, v, scale)


def _detached_in_eval(self: Any, joined: Tensor) -> Tensor:
    out: Tensor = self.output(joined)
    return out if self.training else out.detach()


def _per_sample_rank_three(self: Any, mask: Tensor | None) -> Tensor | None:
    return mask[None] if mask is not None and mask.dim() == 3 else mask


def _one_length(self: Any, mask: Tensor | None, valid_lens: Tensor | None, kv_len: int) -> Tensor | None:
    if valid_lens is None:
        return mask
    lens = valid_lens.flatten(1).amax(1) if valid_lens.dim() == 2 else valid_lens
    return self.both(mask, (torch.arange(kv_len) < lens[:, None, None])[:, None])  # type: ignore[no-any-return]  # a tensor or None


def _inclusive(self: Any, mask: Tensor | None, valid_lens: Tensor | None, kv_len: int) -> Tensor | None:
    return PlainMultiHead.lengths(self, mask, None if valid_lens is None else valid_lens + 1, kv_len)


def _mask_alone(self: Any, mask: Tensor | None, valid_lens: Tensor | None, kv_len: int) -> Tensor | None:
    return PlainMultiHead.lengths(self, mask, None if mask is not None else valid_lens, kv_len)


HEADS: tuple[Mistake, ...] = (
    Mistake("heads_joined_without_transposing",
        "The heads are joined by a reshape of batch, heads, length, features; transpose heads and length first.",
        ("jsbaan/transformer-from-scratch#4", "chelsea0x3b/dfdx#158"), "heads > 1 and q_len > 1", "law",
        {"joined": lambda self, out: out.reshape(out.shape[0], out.shape[2], out.shape[1] * out.shape[3])}),
    Mistake("heads_split_without_transposing",
        "The features are split by a view as batch, heads, length, features; split the features, then transpose.",
        ("reczoo/FuxiCTR#30", "hyunwoongko/transformer#15"), "heads > 1 and kv_len > 1", "law",
        {"split": lambda self, x: x.reshape(x.shape[0], self.heads, x.shape[1], x.shape[2] // self.heads)}),
    Mistake("heads_split_and_joined_without_transposing",
        "Both split and join are views, so each head attends over chunks of tokens; transpose in both.",
        ("chelsea0x3b/dfdx#158",), "heads > 1 and (q_len > 1 or kv_len > 1)", "law",
        {"split": lambda self, x: x.reshape(x.shape[0], self.heads, x.shape[1], x.shape[2] // self.heads),
         "joined": lambda self, out: out.reshape(out.shape[0], out.shape[2], out.shape[1] * out.shape[3])}),
    Mistake("heads_interleaved_when_split",
        "Head h takes every heads-th feature; it is to take one run of head_dim features.",
        ("awslabs/slapo#46", "tenstorrent/tt-metal#6243"), "heads > 1 and head_dim > 1", "value",
        {"split": _stacked}),
    Mistake("heads_interleaved_when_joined",
        "The features of all heads are interleaved; put the features of each head side by side.",
        ("defects HD-1",), "heads > 1 and v_dim > 1", "value",
        {"joined": lambda self, out: out.permute(0, 2, 3, 1).flatten(2)}),
    Mistake("heads_reversed_when_joined",
        "The last head comes first; join the heads in the order in which they were split.",
        ("defects, section 13",), "heads > 1", "value",
        {"joined": lambda self, out: out.flip(1).transpose(1, 2).flatten(2)}),
    Mistake("heads_and_batch_exchanged",
        "batch · heads is read as heads · batch, which mixes samples.",
        ("gazelle93/Transformer-Various-Positional-Encoding#1",), "batch > 1 and heads > 1", "law",
        {"joined": _left_first}),
    Mistake("batch_read_as_length",
        "The first axis is read as length, the second as batch; here the batch comes first.",
        ("IBM/TabFormer#14", "aipixel/AEMatter#3"), "batch > 1 and (q_len > 1 or kv_len > 1)", "law",
        {"split": _swapped}),
    Mistake("first_head_serves_all",
        "The weights of the first head average the values of every head.",
        ("defects HD-11",), "heads > 1 and kv_len > 1", "value",
        {"averaged": lambda self, weights, v: weights[:, :1] @ v}),
    Mistake("weights_averaged_over_heads_first",
        "The mean weights of all heads average the values; every head has weights of its own.",
        ("facebookresearch/fairseq#3365",), "heads > 1 and kv_len > 1", "value",
        {"averaged": lambda self, weights, v: weights.mean(1, keepdim=True) @ v}),
)  # fmt: skip

PROJECTIONS: tuple[Mistake, ...] = (
    Mistake("values_projected_from_projected_keys",
        "Values are projected from the keys after their projection; project them from the values' own source.",
        ("errata CA-1", "microsoft/CNTK#2083"), "always", "shape", {"projected": _of_keys}),
    Mistake("values_projected_from_projected_keys_of_one_width",
        "Where widths allow it, values are projected from projected keys; project them from their own source.",
        ("errata CA-1", "errata CA-2"), "key_size == value_size and key_size == heads * head_dim", "law",
        {"projected": _of_keys_where_it_fits}),
    Mistake("values_taken_from_keys",
        "Values are projected from k; project them from v.",
        ("yflyzhang/AnnotatedTransformer#1",), "key_size == value_size", "law",
        {"projected": _values_from_keys}),
    Mistake("keys_taken_from_queries",
        "Keys are projected from q, so nothing is looked up in k; project them from k.",
        ("errata XT-1",), "query_size == key_size and q_len == kv_len", "law",
        {"projected": _memory_is_the_query}),
    Mistake("keys_projected_like_queries",
        "Queries and keys share one projection; each has its own.",
        ("errata SF-1",), "query_size == key_size", "value", {"projected": _one_projection}),
    Mistake("values_projected_like_keys",
        "Keys and values share one projection, and that of the values is idle; each has its own.",
        ("yflyzhang/AnnotatedTransformer#1",), "key_size == value_size and head_dim == v_dim", "hygiene",
        {"projected": _one_memory_projection}),
    Mistake("values_that_are_keys_without_bias",
        "Where one tensor is keys and values, but not queries, a path of its own forgets the bias of the values.",
        ("KyanChen/MakeMultiHeadNaive#2",), "bias", "value", {"projected": _without_bias_for_one}),
    Mistake("values_not_projected",
        "The values are averaged as they come; project them first.",
        ("facebookresearch/Motionformer#6",), "value_size == heads * v_dim", "law",
        {"projected": _plain_values}),
    Mistake("query_bias_ignored",
        "The bias of the queries is forgotten.", ("pytorch/pytorch#51662",), "bias and kv_len > 1", "value",
        {"projected": lambda self, q, k, v: (without_bias(self.query, q), self.key(k), self.value(v))}),
    Mistake("value_bias_ignored",
        "The bias of the values is forgotten.", ("pytorch/pytorch#51662",), "bias", "value",
        {"projected": lambda self, q, k, v: (self.query(q), self.key(k), without_bias(self.value, v))}),
    Mistake("output_bias_ignored",
        "The bias of the last projection is forgotten.", ("pytorch/pytorch#51662",), "bias", "value",
        {"left": lambda self, joined: without_bias(self.output, joined)}),
    Mistake("output_projection_missing",
        "The joined heads come back as they are; project them once more.",
        ("errata RP-5",), "heads * v_dim == model_dim", "value",
        {"left": lambda self, joined: joined if joined.shape[-1] == self.model_dim else self.output(joined)}),
    Mistake("bias_required",
        "A module without biases fails; bias=False is legal.", ("pytorch/pytorch#97128",), "not bias", "shape",
        {"left": lambda self, joined: linear(joined, self.output.weight) + self.output.bias}),
    Mistake("mask_of_rank_three_read_as_heads",
        "A mask of rank 3 is read as heads, queries, keys; it is batch, queries, keys.",
        ("errata MH-5a", "onnx/onnx#8108"), "batch > 1", "law", {"ranked": _per_sample_rank_three}),
    Mistake("lengths_of_queries_merged",
        "Where every query has a length of its own, the longest of the sample serves all.",
        ("jax-ml/jax#23349",), "batch >= 1 and q_len > 1", "law", {"lengths": _one_length}),
    Mistake("lengths_off_by_one",
        "One key more than the valid length is visible; key j is valid if j < length.",
        ("errata MS-3",), "kv_len > 1", "law", {"lengths": _inclusive}),
    Mistake("lengths_give_way_to_a_mask",
        "Under a mask the valid lengths are ignored; a key is to be let through by both.",
        ("defects MK-11",), "kv_len > 1", "value", {"lengths": _mask_alone}),
)  # fmt: skip

STATE: tuple[Mistake, ...] = (
    Mistake("queries_written_to",
        "The caller's queries are scaled in place; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene", {"projected": _in_place}),
    Mistake("layer_kept_in_a_list",
        "A layer is kept in a plain list, so parameters() and state_dict() lack it; use nn.ModuleList.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene",
        {"__init__": _unlisted, "left": _through_the_list}),
    Mistake("parameter_replaced_in_forward",
        "A parameter is made anew in forward, so that optimisers hold a stale one.",
        ("xmu-xiaoma666/External-Attention-pytorch MUSEAttention",), "always", "hygiene", {"left": _renewed}),
    Mistake("parameter_changed_in_forward",
        "A call changes a parameter; only an optimiser does.",
        ("xmu-xiaoma666/External-Attention-pytorch MUSEAttention",), "always", "hygiene", {"left": _normed}),
    Mistake("buffer_of_the_length_saved",
        "A buffer as long as the last input is saved, and loading the state elsewhere fails; persistent=False.",
        ("TransformerLensOrg/TransformerLens#1450",), "always", "hygiene", {"weighed": _buffered}),
    Mistake("scale_missing_in_training",
        "In training mode the logits are not scaled; both modes scale.",
        ("pytorch/pytorch#86120",), "head_dim > 1 and kv_len > 1", "mode", {"factor": _unscaled_in_training}),
    Mistake("no_gradients_in_eval",
        "In eval mode the result is detached, so nothing can be explained or tuned through it.",
        ("pytorch/pytorch#97409",), "always", "gradient", {"left": _detached_in_eval}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in(
    "multi_head",
    (
        *SCORES, *MASKS, *CAUSAL, *MANNERS, *LENGTHS,
        *(m for m in FUNCTION if m.name in _INSIDE),
        *HEADS, *PROJECTIONS, *STATE,
    ),
)  # fmt: skip
