"""Known mistakes of attention with a learned bias for each offset."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.relative_position import RelativePosition


class PlainRelativePosition(RelativePosition):
    """Projections, index, bias and softmax, one step a method."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        q, k, v = (self.split(self.through(layer, x)) for layer in (self.query, self.key, self.value))
        weights = self.weighed(self.biased(q @ k.mT, self.factor(q), self.looked_up()))
        out = self.through(self.output, self.joined(weights @ v))
        return (out, weights) if need_weights else out

    def through(self, layer: Any, x: Tensor) -> Tensor:
        return x if layer is None else layer(x)

    def split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, x.shape[-1] // self.heads).transpose(1, 2)

    def factor(self, q: Tensor) -> float:
        return float(q.shape[-1] ** -0.5) if self.scale is None else self.scale

    def offsets(self) -> tuple[Tensor, Tensor]:
        """How many rows and columns each query stands after each key."""
        columns = self.tokens // self.height
        place = torch.arange(self.tokens)
        row, column = place.div(columns, rounding_mode="floor"), place % columns
        return row.unsqueeze(1) - row, column.unsqueeze(1) - column

    def index(self) -> Tensor:
        rows, columns = self.offsets()
        width = self.tokens // self.height
        return (rows + self.height - 1) * (2 * width - 1) + columns + width - 1

    def looked_up(self) -> Tensor:
        return self.table[self.index()].permute(2, 0, 1)

    def biased(self, products: Tensor, factor: float, bias: Tensor) -> Tensor:
        return products * factor + bias

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def joined(self, out: Tensor) -> Tensor:
        return out.transpose(1, 2).flatten(2)


def _strided(stride: Any) -> Any:
    def index(self: Any) -> Tensor:
        rows, columns = self.offsets()
        width = self.tokens // self.height
        found: Tensor = (rows + self.height - 1) * stride(self.height, width) + columns + width - 1
        return found.clamp(max=self.table.shape[0] - 1)

    return index


def _columns_first(self: Any) -> tuple[Tensor, Tensor]:
    place = torch.arange(self.tokens)
    column, row = place.div(self.height, rounding_mode="floor"), place % self.height
    return row.unsqueeze(1) - row, column.unsqueeze(1) - column


def _unsigned(self: Any) -> tuple[Tensor, Tensor]:
    rows, columns = PlainRelativePosition.offsets(self)
    return rows.abs(), columns.abs()


def _turned(self: Any) -> tuple[Tensor, Tensor]:
    rows, columns = PlainRelativePosition.offsets(self)
    return -rows, -columns


DEFECTS: tuple[Defect, ...] = made_in("relative_position", (
    Mistake("table_ignored", "The table is learned and never read; add its entries to the logits.",
        ("clip-vil/CLIP-ViL#13",), "tokens > 1", "law",
        {"looked_up": lambda self: 0 * PlainRelativePosition.looked_up(self)}),
    Mistake("offsets_collide_by_one", "A row counts 2 · width - 2 entries, so offsets share some; it has 2 · width - 1.",
        ("microsoft/Swin-Transformer#367",), "height > 1 and tokens > height", "law",
        {"index": _strided(lambda h, w: 2 * w - 2)}),
    Mistake("row_stride_of_the_height", "A row counts 2 · height - 1 entries; it has 2 · width - 1.",
        ("microsoft/Swin-Transformer#75",), "height > 1 and tokens != height * height", "value",
        {"index": _strided(lambda h, w: 2 * h - 1)}),
    Mistake("row_stride_too_long", "A row counts 3 · width - 1 entries; it has 2 · width - 1.",
        ("282857341/nnFormer#8",), "height > 1", "value", {"index": _strided(lambda h, w: 3 * w - 1)}),
    Mistake("offsets_negated", "The offset is key minus query; it is query minus key.",
        ("defects PO-3",), "tokens > 1", "value", {"offsets": _turned}),
    Mistake("offsets_unsigned", "Before and behind share an entry; offsets have a sign.",
        ("defects PO-3",), "tokens > 1", "law", {"offsets": _unsigned}),
    Mistake("tokens_counted_by_columns", "The window is read column by column; it is read row by row.",
        ("defects PO-3",), "height > 1 and tokens > height", "value", {"offsets": _columns_first}),
    Mistake("heads_of_the_table_reversed", "Every head reads the column of another head.",
        ("ml-explore/mlx#3071",), "heads > 1 and tokens > 1", "value",
        {"looked_up": lambda self: PlainRelativePosition.looked_up(self).flip(0)}),
    Mistake("first_head_of_the_table_serves_all", "All heads read the first column of the table.",
        ("ml-explore/mlx#3071",), "heads > 1 and tokens > 1", "value",
        {"looked_up": lambda self: PlainRelativePosition.looked_up(self)[:1]}),
    Mistake("bias_scaled", "The bias is scaled with the products; add it after the scale.",
        ("defects SC-6",), "tokens > 1", "value",
        {"biased": lambda self, products, factor, bias: (products + bias) * factor}),
    Mistake("bias_after_the_softmax", "The bias is added to the weights; add it to the logits.",
        ("defects SM-6",), "always", "law",
        {"biased": lambda self, products, factor, bias: (products * factor, bias),
         "weighed": lambda self, logits: logits[0].softmax(-1) + logits[1]}),
    Mistake("scale_missing", "The products are not scaled.",
        ("Project-MONAI/GenerativeModels#146",), "model_dim > heads and tokens > 1", "value",
        {"factor": lambda self, q: 1.0}),
    Mistake("scale_argument_ignored", "A scale that is given is replaced by 1/√head_dim.",
        ("pytorch/pytorch#174049",), "scale is not None and tokens > 1", "value",
        {"factor": lambda self, q: q.shape[-1] ** -0.5}),
    Mistake("scale_by_all_heads", "The products are divided by √model_dim; the width of one head counts.",
        ("aladdinpersson/Machine-Learning-Collection#65",), "heads > 1 and tokens > 1 and scale is None", "value",
        {"factor": lambda self, q: self.model_dim**-0.5 if self.scale is None else self.scale}),
    Mistake("softmax_over_queries", "The softmax runs over queries; it is to run over keys.",
        ("labmlai/annotated_deep_learning_paper_implementations#146",), "tokens > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(-2)}),
    Mistake("heads_joined_without_transposing", "The heads are joined by a reshape; transpose heads and tokens first.",
        ("jsbaan/transformer-from-scratch#4",), "heads > 1 and tokens > 1", "law",
        {"joined": lambda self, out: out.reshape(out.shape[0], self.tokens, self.model_dim)}),
    Mistake("heads_split_without_transposing", "The features are split by a view; split the features, then transpose.",
        ("reczoo/FuxiCTR#30",), "heads > 1 and tokens > 1", "law",
        {"split": lambda self, x: x.reshape(x.shape[0], self.heads, self.tokens, self.model_dim // self.heads)}),
    Mistake("table_without_gradient", "No gradient flows to the table, so it is never learned.",
        ("facebookresearch/xformers#636",), "tokens > 1", "gradient",
        {"looked_up": lambda self: PlainRelativePosition.looked_up(self).detach()}),
    Mistake("input_written_to", "The caller's input is written to; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene",
        {"through": lambda self, layer, x: x.add_(1e-7) if layer is None else layer(x.add_(1e-7))}),
))  # fmt: skip
