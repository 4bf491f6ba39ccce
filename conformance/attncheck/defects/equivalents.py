"""Changes that no check may complain of: they change nothing, or follow a listed convention."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.attention import Attention
from attncheck.defects.defect import Defect, Mistake, made_in


def _lowest(self: Attention, logits: Tensor, visible: Tensor | None) -> Tensor:
    return logits if visible is None else logits.masked_fill(~visible, torch.finfo(logits.dtype).min)


def _by_logarithms(self: Attention, logits: Tensor) -> Tensor:
    # As good as the softmax itself only where rounding is that of float32 and better.
    precise = logits if logits.dtype == torch.float64 else logits.float()
    alive = (precise > -torch.inf).any(-1, keepdim=True)
    weights = precise.masked_fill(~alive, 0.0).log_softmax(-1).exp().to(logits.dtype)
    return weights.masked_fill(~alive, 0.0)


def _moved(
    self: Attention, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    # A soft cap bends logits, so it tells where they stand.
    return (q, k, v) if options.get("soft_cap") is not None else (q, k - k[..., :1, :], v)


ATTENTION: tuple[Mistake, ...] = (
    Mistake("dead_rows_give_nan", "A query that may attend to nothing gets NaN: a listed convention.",
        ("defects NA-1",), "always", "law", {"weighed": lambda self, logits: logits.softmax(-1)}),
    Mistake("dead_rows_give_the_mean", "Hidden logits become the lowest number: a dead row gets the mean.",
        ("defects NA-2",), "always", "law", {"hidden": _lowest}),
    Mistake("keys_shifted", "All keys are shifted alike where no cap follows, which the softmax ignores.",
        ("defects, section 12",), "always", "law", {"prepared": _moved}),
    Mistake("logits_shifted", "One number is added to all logits, which the softmax ignores.",
        ("defects PO-13",), "always", "law", {"biased": lambda self, logits, bias: Attention.biased(self, logits, bias) + 0.25}),
    Mistake("keys_scaled_instead_of_queries", "The scale is applied to the keys, which is the same.",
        ("errata, section 'Not defects'",), "always", "law", {"scored": lambda self, q, k, factor: q @ (k * factor).mT}),
    Mistake("softmax_by_logarithms", "The weights are exponentials of a log-softmax, which is the same.",
        ("defects, section 12",), "always", "law", {"weighed": _by_logarithms}),
    Mistake("dead_rows_cleaned_behind_masked_fill",
        "NaN is replaced after the softmax; masked_fill keeps the NaN of the gradients from the inputs.",
        ("Xilinx/brevitas#1591",), "always", "gradient", {"weighed": lambda self, logits: logits.softmax(-1).nan_to_num(0.0)}),
    Mistake("scores_summed_by_hand", "The scores are sums of products, which is the same.",
        ("defects, section 12",), "always", "law",
        {"averaged": lambda self, weights, v: torch.einsum("bhij,bhjd->bhid", weights, v)}),
)  # fmt: skip

LENGTHS: tuple[Mistake, ...] = (
    Mistake("dead_rows_give_nan", "A sample without valid keys gets NaN: a listed convention.",
        ("defects NA-1",), "always", "law", {"weighed": lambda self, scores: scores.softmax(-1)}),
    Mistake("dead_rows_give_the_mean", "Scores beyond the length become the lowest number: a length of 0 gives the mean.",
        ("defects NA-2",), "always", "law",
        {"cut": lambda self, scores, visible: scores.masked_fill(~visible, torch.finfo(scores.dtype).min)}),
)  # fmt: skip

# The others whose weights are made in one step of their own.
_WEIGHING = (
    "masked_softmax",
    "kernel_regression",
    "relative_position",
    "channel_self",
    "spatial_self",
    "attention_pool",
)
_LOGARITHMS = tuple(mistake for mistake in ATTENTION if mistake.name == "softmax_by_logarithms")

# In half precision a shift is rounded anew, so it belongs to the functions where that is not seen.
EQUIVALENTS: tuple[Defect, ...] = (
    *made_in("scaled_dot_product", ATTENTION),
    *made_in("multi_head", ATTENTION),
    *made_in("cross", ATTENTION),
    *(
        defect
        for mechanism in ("masked_softmax", "dot_product", "additive")
        for defect in made_in(mechanism, LENGTHS)
    ),
    *(defect for mechanism in _WEIGHING for defect in made_in(mechanism, _LOGARITHMS)),
)
