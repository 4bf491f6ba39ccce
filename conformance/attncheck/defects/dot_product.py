"""Known mistakes of dot-product attention with valid lengths."""

from typing import Any

from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.masked_softmax import LENGTHS, Lengths


class Scored(Lengths):
    """A masked softmax of scores, and the values it averages."""

    def answered(self, scores: Tensor, values: Tensor, valid_lens: Tensor | None, need_weights: bool) -> Any:
        weights = self.masked(scores, valid_lens)
        out = self.averaged(weights, values)
        return (out, weights) if need_weights else out

    def averaged(self, weights: Tensor, values: Tensor) -> Tensor:
        return weights @ values


class PlainDotProduct(Scored):
    """The function on its own."""

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        valid_lens: Tensor | None = None,
        *,
        need_weights: bool = False,
    ) -> Any:
        scores = self.scored(queries, keys, self.factor(queries, keys, values))
        return self.answered(scores, values, valid_lens, need_weights)

    def factor(self, queries: Tensor, keys: Tensor, values: Tensor) -> float:
        return float(queries.shape[-1] ** -0.5)

    def scored(self, queries: Tensor, keys: Tensor, factor: float) -> Tensor:
        return (queries * factor) @ keys.mT


def _transposed(self: Any, weights: Tensor, values: Tensor) -> Tensor:
    square = weights.shape[-1] == weights.shape[-2]
    return (weights.mT if square else weights) @ values


AVERAGES: tuple[Mistake, ...] = (
    Mistake("weights_transposed", "The values are averaged with the transposed weights.",
        ("heykeetae/Self-Attention-GAN#11",), "q_len == kv_len and q_len > 1", "law", {"averaged": _transposed}),
    Mistake("values_detached", "No gradient flows to the values; do not detach them.",
        ("facebookresearch/xformers#636",), "always", "gradient",
        {"averaged": lambda self, weights, values: weights @ values.detach()}),
    Mistake("weights_detached", "No gradient flows through the weights; do not detach them.",
        ("facebookresearch/xformers#636",), "kv_len > 1", "gradient",
        {"averaged": lambda self, weights, values: weights.detach() @ values}),
)  # fmt: skip

OWN: tuple[Mistake, ...] = (
    Mistake("scale_missing", "The scores are not scaled; divide them by √head_dim.",
        ("Project-MONAI/GenerativeModels#146",), "head_dim > 1 and kv_len > 1", "value",
        {"factor": lambda self, q, k, v: 1.0}),
    Mistake("scale_inverted", "The scores are multiplied by √head_dim; divide them.",
        ("esceptico/perceiver-io#9",), "head_dim > 1 and kv_len > 1", "value",
        {"factor": lambda self, q, k, v: q.shape[-1] ** 0.5}),
    Mistake("scale_by_value_width", "The scores are divided by √v_dim; the width of queries counts.",
        ("cneuralnetwork/solving-ml-papers#1",), "v_dim != head_dim and kv_len > 1", "value",
        {"factor": lambda self, q, k, v: v.shape[-1] ** -0.5}),
    Mistake("scale_by_key_length", "The scores are divided by √kv_len; divide by √head_dim.",
        ("InternLM/xtuner#873",), "kv_len != head_dim and kv_len > 1", "law",
        {"factor": lambda self, q, k, v: max(k.shape[-2], 1) ** -0.5}),
    Mistake("scores_of_queries_alone", "Queries are compared with queries; compare them with keys.",
        ("errata SF-1",), "q_len == kv_len and kv_len > 1", "law",
        {"scored": lambda self, q, k, factor: (q * factor) @ (q if q.shape == k.shape else k).mT}),
    Mistake("values_are_keys", "The keys are averaged where the values belong.",
        ("yflyzhang/AnnotatedTransformer#1",), "v_dim == head_dim", "law",
        {"forward": lambda self, queries, keys, values, valid_lens=None, *, need_weights=False: PlainDotProduct.forward(
            self, queries, keys, keys if keys.shape == values.shape else values, valid_lens, need_weights=need_weights)}),
    Mistake("queries_written_to", "The caller's queries are scaled in place.",
        ("defects, section 13",), "always", "hygiene",
        {"scored": lambda self, q, k, factor: q.mul_(factor) @ k.mT}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("dot_product", (*LENGTHS, *AVERAGES, *OWN))
