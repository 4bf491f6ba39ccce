"""Window attention with a table of offsets, in the style of Swin, with its mistakes."""

import torch
from torch import Tensor, nn


class WindowAttention(nn.Module):
    mistake = ""

    def __init__(self, dim: int, window_size: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        self.dim, self.window_size, self.num_heads = dim, window_size, num_heads
        rows, columns = window_size
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * rows - 1) * (2 * columns - 1), num_heads)
        )
        self.register_buffer("relative_position_index", self.index(rows, columns))
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def index(self, rows: int, columns: int) -> Tensor:
        if self.mistake == "tokens_counted_by_columns":
            places = [(r, c) for c in range(columns) for r in range(rows)]
        else:
            places = [(r, c) for r in range(rows) for c in range(columns)]
        stride = {
            "offsets_collide_by_one": 2 * columns - 2,
            "row_stride_of_the_height": 2 * rows - 1,
        }.get(self.mistake, 2 * columns - 1)
        entries = []
        for one in places:
            for other in places:
                down, right = one[0] - other[0], one[1] - other[1]
                if self.mistake == "offsets_unsigned":
                    down, right = abs(down), abs(right)
                entries.append((down + rows - 1) * stride + right + columns - 1)
        last = (2 * rows - 1) * (2 * columns - 1) - 1
        return torch.tensor(entries).clamp(max=last).view(len(places), len(places))

    def bias(self) -> Tensor:
        table = self.relative_position_bias_table
        match self.mistake:
            case "table_without_gradient":
                table = table.detach()
            case "heads_of_the_table_reversed":
                table = table.flip(1)
            case "first_head_of_the_table_serves_all":
                table = table[:, [0]].repeat(1, self.num_heads)
            case "table_ignored":
                table = torch.zeros_like(table)
        index = self.get_buffer("relative_position_index")
        return table[index.view(-1)].view(*index.shape, -1).permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        B_, N, C = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn, bias, scale = q @ k.transpose(-2, -1), self.bias(), self.scale(C)
        dim = -2 if self.mistake == "softmax_over_queries" else -1
        match self.mistake:
            case "bias_scaled":
                attn = ((attn + bias) * scale).softmax(dim)
            case "bias_after_the_softmax":
                attn = (attn * scale).softmax(dim) + bias
            case _:
                attn = (attn * scale + bias).softmax(dim)
        read = attn @ v
        if self.mistake != "heads_joined_without_transposing":
            read = read.transpose(1, 2)
        return self.proj(read.reshape(B_, N, C))

    def scale(self, width: int) -> float:
        match self.mistake:
            case "scale_missing":
                return 1.0
            case "scale_by_all_heads":
                return float(width**-0.5)
        return float((width // self.num_heads) ** -0.5)


def made(mistake: str = "") -> type[WindowAttention]:
    """The module with a mistake, without one unless it is named."""
    return type("WindowAttention", (WindowAttention,), {"mistake": mistake})


MISTAKES = (
    "table_ignored", "offsets_collide_by_one", "row_stride_of_the_height",
    "offsets_unsigned", "tokens_counted_by_columns", "heads_of_the_table_reversed",
    "first_head_of_the_table_serves_all", "bias_scaled", "bias_after_the_softmax", "scale_missing",
    "scale_by_all_heads", "softmax_over_queries", "heads_joined_without_transposing",
    "table_without_gradient",
)  # fmt: skip
