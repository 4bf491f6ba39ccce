"""Known mistakes of cross-attention with one head."""

from typing import Any

from torch import Tensor

from attncheck.defects.attention import without_bias
from attncheck.defects.attention_masks import MASKS
from attncheck.defects.attention_scores import SCORES
from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.lengths import LENGTHS
from attncheck.defects.manners import MANNERS

Triple = tuple[Tensor, Tensor, Tensor]


def _of_keys(self: Any, x: Tensor, y: Tensor) -> Triple:
    key = self.key(y)
    return self.query(x), key, self.value(key)


def _of_keys_where_it_fits(self: Any, x: Tensor, y: Tensor) -> Triple:
    key = self.key(y)
    return self.query(x), key, self.value(key if key.shape == y.shape else y)


def _values_of_x(self: Any, x: Tensor, y: Tensor) -> Triple:
    return self.query(x), self.key(y), self.value(x if x.shape == y.shape else y)


def _only_x(self: Any, x: Tensor, y: Tensor) -> Triple:
    source = x if x.shape[-1] == y.shape[-1] else y
    return self.query(x), self.key(source), self.value(source)


def _only_y(self: Any, x: Tensor, y: Tensor) -> Triple:
    return self.query(y if x.shape == y.shape else x), self.key(y), self.value(y)


def _one_projection(self: Any, x: Tensor, y: Tensor) -> Triple:
    key = self.query if self.query.weight.shape == self.key.weight.shape else self.key
    return self.query(x), key(y), self.value(y)


def _plain_values(self: Any, x: Tensor, y: Tensor) -> Triple:
    return self.query(x), self.key(y), y if y.shape[-1] == self.v_dim else self.value(y)


OWN: tuple[Mistake, ...] = (
    Mistake("values_projected_from_projected_keys",
        "Values are projected from the keys after their projection; project them from y.",
        ("errata CA-1", "errata CA-2"), "always", "shape", {"projected": _of_keys}),
    Mistake("values_projected_from_projected_keys_of_one_width",
        "Where key_size equals head_dim, values are projected from projected keys; project them from y.",
        ("errata CA-1",), "key_size == head_dim", "law", {"projected": _of_keys_where_it_fits}),
    Mistake("values_from_x",
        "The values come from x, which asks; they come from y, which answers.",
        ("errata XT-1",), "query_size == key_size and q_len == kv_len", "law", {"projected": _values_of_x}),
    Mistake("keys_and_values_from_x",
        "x attends to itself and y has no say; keys and values come from y.",
        ("errata XT-1", "Project-MONAI/GenerativeModels#146"), "query_size == key_size", "shape", {"projected": _only_x}),
    Mistake("queries_from_y",
        "The queries come from y; they come from x.",
        ("errata XT-1",), "query_size == key_size and q_len == kv_len", "law", {"projected": _only_y}),
    Mistake("keys_projected_like_queries",
        "Queries and keys share one projection; each has its own.",
        ("errata SF-1",), "query_size == key_size", "value", {"projected": _one_projection}),
    Mistake("values_not_projected",
        "The values are averaged as they come; project them first.",
        ("facebookresearch/Motionformer#6",), "key_size == v_dim", "law", {"projected": _plain_values}),
    Mistake("query_bias_ignored",
        "The bias of the queries is forgotten.", ("pytorch/pytorch#51662",), "bias and kv_len > 1", "value",
        {"projected": lambda self, x, y: (without_bias(self.query, x), self.key(y), self.value(y))}),
    Mistake("value_bias_ignored",
        "The bias of the values is forgotten.", ("pytorch/pytorch#51662",), "bias", "value",
        {"projected": lambda self, x, y: (self.query(x), self.key(y), without_bias(self.value, y))}),
    Mistake("queries_written_to",
        "x is scaled in place, and the caller's tensor with it; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene",
        {"projected": lambda self, x, y: (self.query(x.mul_(0.5)), self.key(y), self.value(y))}),
)  # fmt: skip

# What is scored and masked is the same as with several heads; there is no causal mode.
DEFECTS: tuple[Defect, ...] = made_in("cross", (*SCORES, *MASKS, *MANNERS, *LENGTHS, *OWN))
