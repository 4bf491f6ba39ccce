"""Known mistakes of criss-cross attention."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.pixels import GAMMA, at_every_position
from attnref.mechanisms.criss_cross import CrissCross


class PlainCrissCross(CrissCross):
    """Logits along column and row, one softmax, and the sum of both, one step a method."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        q, k, v = (at_every_position(layer, x) for layer in self.layers())
        column = self.without_itself(torch.einsum("bdhw,bdjw->bhwj", q, k))
        row = torch.einsum("bdhw,bdhj->bhwj", q, k)
        factor = self.factor(q)
        in_column, in_row = self.weighed(column * factor, row * factor)
        read = torch.einsum("bhwj,bcjw->bchw", in_column, v) + self.across(in_row, v)
        out = self.added(read, x)
        return (out, self.listed(in_column, in_row)) if need_weights else out

    def layers(self) -> tuple[Any, Any, Any]:
        return self.query, self.key, self.value

    def factor(self, q: Tensor) -> float:
        return 1.0

    def without_itself(self, column: Tensor) -> Tensor:
        itself = torch.eye(column.shape[-1], dtype=torch.bool)[:, None]
        return column.masked_fill(itself, -torch.inf)

    def weighed(self, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        joint = torch.cat([column, row], -1).softmax(-1)
        return joint[..., : column.shape[-1]], joint[..., column.shape[-1] :]

    def across(self, in_row: Tensor, v: Tensor) -> Tensor:
        return torch.einsum("bhwj,bchj->bchw", in_row, v)

    def listed(self, in_column: Tensor, in_row: Tensor) -> Tensor:
        height = in_column.shape[-1]
        others = torch.tensor([[j for j in range(height) if j != i] for i in range(height)]).reshape(
            height, height - 1
        )
        index = others[None, :, None].expand(in_column.shape[0], -1, in_column.shape[2], -1)
        return torch.cat([in_column.gather(-1, index), in_row], -1)

    def added(self, read: Tensor, x: Tensor) -> Tensor:
        return self.gamma * read + x


def _apart(self: Any, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    return column.softmax(-1).nan_to_num(0.0), row.softmax(-1)


def _halved(self: Any, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    return column.softmax(-1).nan_to_num(0.0) / 2, row.softmax(-1) / 2


def _row_only(self: Any, column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    return 0 * column.masked_fill(column.isneginf(), 0.0), row.softmax(-1)


def _turned(self: Any, in_row: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhjw,bchj->bchw", in_row, v)


DEFECTS: tuple[Defect, ...] = made_in("criss_cross", (
    Mistake("pixel_counted_twice", "The pixel itself is a key in its column and in its row; count it once.",
        ("speedinghzl/CCNet#105", "Serge-weihao/CCNet-Pure-Pytorch#11"), "height * width > 1", "law",
        {"without_itself": lambda self, column: column}),
    Mistake("softmax_for_column_and_row", "Column and row have a softmax each; one runs over both together.",
        ("speedinghzl/CCNet#105",), "height > 1", "law", {"weighed": _apart}),
    Mistake("softmaxes_averaged", "Column and row have a softmax each and count half; one runs over both together.",
        ("speedinghzl/CCNet#105",), "height > 1 or width > 1", "value", {"weighed": _halved}),
    Mistake("row_only", "Only the row is looked at; the column is to be looked at too.",
        ("defects CH-17",), "height > 1", "value", {"weighed": _row_only}),
    Mistake("row_weights_turned", "The weights of the row are used with pixel and key exchanged.",
        ("speedinghzl/CCNet#105",), "width > 1", "law", {"across": _turned}),
    Mistake("logits_scaled", "The logits are divided by √reduced; here they are not scaled.",
        ("errata SS-3",), "reduced > 1 and height * width > 1", "value", {"factor": lambda self, q: q.shape[1] ** -0.5}),
    Mistake("keys_projected_like_queries", "Queries and keys share one projection; each has its own.",
        ("errata SF-1",), "height * width > 1", "value", {"layers": lambda self: (self.query, self.query, self.value)}),
    Mistake("queries_and_keys_exchanged", "The key's projection asks and the query's answers.",
        ("defects HD-9",), "height * width > 1", "value", {"layers": lambda self: (self.key, self.query, self.value)}),
    *GAMMA,
))  # fmt: skip
