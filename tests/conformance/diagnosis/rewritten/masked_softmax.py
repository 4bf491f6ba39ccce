"""Masked softmax as a function that walks through the samples, right and with one mistake at a time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def made(mistake: str = "") -> Callable[..., Tensor]:
    """The function with a mistake, without one unless it is named."""

    def seen(length: int, size: int, queries: int) -> list[bool]:
        match mistake:
            case "lengths_ignored":
                return [True] * size
            case "lengths_inverted":
                return [j >= length for j in range(size)]
            case "lengths_off_by_one":
                return [j <= length for j in range(size)]
            case "lengths_one_too_short":
                return [j + 1 < length for j in range(size)]
            case "lengths_counted_from_the_end":
                return [size - j <= length for j in range(size)]
        return [j < length for j in range(size)]

    def rows_of(lengths: Tensor, sample: int, batch: int, queries: int) -> list[int]:
        if lengths.dim() == 2:
            own = lengths[sample].tolist()
            return [max(own)] * queries if mistake == "lengths_of_queries_merged" and own else own
        if mistake == "lengths_tiled":
            every = lengths.tolist() * queries
            return every[sample * queries : (sample + 1) * queries]
        if mistake == "lengths_of_samples_on_queries" and batch == queries:
            return lengths.tolist()
        return [int(lengths[sample])] * queries

    def hide(row: Tensor, visible: Tensor) -> Tensor:
        fill = {"padding_filled_with_zero": 0.0, "padding_fill_too_weak": -10.0}.get(mistake, -math.inf)
        return torch.where(visible, row, torch.full_like(row, fill))

    def normalise(scores: Tensor) -> Tensor:
        dim = {"softmax_over_queries": 1, "softmax_over_batch": 0}.get(mistake, 2)
        # A row without any key has a softmax of NaN.
        return torch.nn.functional.softmax(scores, dim=dim).nan_to_num(0.0)

    def masked_softmax(X: Tensor, valid_lens: Tensor | None = None) -> Tensor:
        if valid_lens is None:
            return normalise(X)
        batch, queries, size = X.shape
        table = [
            [seen(length, size, queries) for length in rows_of(valid_lens, b, batch, queries)]
            for b in range(batch)
        ]
        visible = torch.tensor(table, dtype=torch.bool, device=X.device).reshape(X.shape)
        if mistake == "mask_after_the_softmax":
            return normalise(X) * visible
        return normalise(hide(X, visible))

    return masked_softmax


MISTAKES = (
    "lengths_ignored", "lengths_inverted", "lengths_off_by_one", "lengths_one_too_short",
    "lengths_counted_from_the_end", "lengths_of_queries_merged", "lengths_tiled",
    "lengths_of_samples_on_queries", "mask_after_the_softmax", "padding_filled_with_zero",
    "padding_fill_too_weak", "softmax_over_queries", "softmax_over_batch",
)  # fmt: skip
