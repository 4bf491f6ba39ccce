"""Known mistakes of additive attention."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.dot_product import AVERAGES, Scored
from attncheck.defects.masked_softmax import LENGTHS
from attnref.mechanisms.additive import Additive


class PlainAdditive(Scored, Additive):
    """The projections, their sum, tanh and score, one step a method."""

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        valid_lens: Tensor | None = None,
        *,
        need_weights: bool = False,
    ) -> Any:
        scores = self.scored(self.bent(self.summed(self.query(queries), self.key(keys))))
        return self.answered(scores, self.sources(keys, values), valid_lens, need_weights)

    def summed(self, q: Tensor, k: Tensor) -> Tensor:
        return q.unsqueeze(2) + k.unsqueeze(1)

    def bent(self, features: Tensor) -> Tensor:
        return torch.tanh(features)

    def scored(self, features: Tensor) -> Tensor:
        return self.score(features).squeeze(-1)  # type: ignore[no-any-return]  # a module returns a tensor here

    def sources(self, keys: Tensor, values: Tensor) -> Tensor:
        return values


def _projected_keys(self: Any, keys: Tensor, values: Tensor) -> Tensor:
    key: Tensor = self.key(keys)
    return key if key.shape == values.shape else values


OWN: tuple[Mistake, ...] = (
    Mistake("tanh_missing", "Without tanh the queries cancel in the softmax and have no say.",
        ("tensorflow/nmt#257",), "kv_len > 1", "value", {"bent": lambda self, features: features}),
    Mistake("tanh_after_the_sum", "tanh is taken of the score; it stands before the score.",
        ("tensorflow/nmt#257",), "kv_len > 1", "value",
        {"bent": lambda self, features: features, "scored": lambda self, f: torch.tanh(self.score(f).squeeze(-1))}),
    Mistake("relu_instead_of_tanh", "relu stands where tanh belongs.",
        ("tensorflow/nmt#257",), "kv_len > 1", "value", {"bent": lambda self, features: features.relu()}),
    Mistake("features_multiplied", "Queries and keys are multiplied; they are added.",
        ("tensorflow/tensorflow#39332",), "kv_len > 1", "value",
        {"summed": lambda self, q, k: q.unsqueeze(2) * k.unsqueeze(1)}),
    Mistake("score_weight_ignored", "The features are summed up without w_v.",
        ("tensorflow/tensorflow#39332", "tensorflow/tensorflow#43471"), "kv_len > 1", "value",
        {"scored": lambda self, features: features.sum(-1)}),
    Mistake("scores_scaled", "The scores are divided by √hidden; additive scores are not scaled.",
        ("errata SF-2",), "hidden > 1 and kv_len > 1", "value",
        {"scored": lambda self, f: self.score(f).squeeze(-1) * f.shape[-1] ** -0.5}),
    Mistake("projected_keys_averaged", "The projected keys are averaged where the values belong.",
        ("microsoft/CNTK#2083",), "hidden == v_dim", "law", {"sources": _projected_keys}),
    Mistake("unprojected_keys_averaged", "The keys are averaged where the values belong.",
        ("stevezheng23/sequence_labeling_tf#81",), "key_size == v_dim", "law",
        {"sources": lambda self, keys, values: keys if keys.shape == values.shape else values}),
    Mistake("queries_without_gradient", "No gradient flows to the queries; do not detach them.",
        ("facebookresearch/xformers#636",), "kv_len > 1", "gradient",
        {"summed": lambda self, q, k: q.detach().unsqueeze(2) + k.unsqueeze(1)}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("additive", (*LENGTHS, *AVERAGES, *OWN))
