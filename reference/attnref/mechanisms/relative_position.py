"""Multi-head self-attention with a learned bias for each head and each offset of key to query."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule


@checked
def relative_position(
    x: Float[Tensor, "batch tokens model_dim"],
    table: Float[Tensor, "(2*{height}-1)*(2*(tokens//{height})-1) heads"],
    query_weight: Float[Tensor, "model_dim model_dim"] | None = None,
    key_weight: Float[Tensor, "model_dim model_dim"] | None = None,
    value_weight: Float[Tensor, "model_dim model_dim"] | None = None,
    output_weight: Float[Tensor, "model_dim model_dim"] | None = None,
    query_bias: Float[Tensor, " model_dim"] | None = None,
    key_bias: Float[Tensor, " model_dim"] | None = None,
    value_bias: Float[Tensor, " model_dim"] | None = None,
    output_bias: Float[Tensor, " model_dim"] | None = None,
    *,
    height: int = 1,
    scale: float | None = None,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch tokens model_dim"]
    | tuple[Float[Tensor, "batch tokens model_dim"], Float[Tensor, "batch heads tokens tokens"]]
):
    """Attend with softmax(q kᵀ · scale + B) v, where B[h, i, j] = table[offset of i from j, h].

    `tokens` is a window of `height` rows, read row by row; one row is a plain sequence. The table
    holds the offsets in the order of `relative_index`. A projection without a weight is the
    identity. `scale` is 1/√head_dim unless given. Logits are scaled before the bias is added.

    Differs from: Shaw et al. 2018, where offsets have vectors that meet the query; T5, where far
    offsets share an entry and nothing is scaled.

    Source: Liu et al. 2021 (Swin), equation 4, arXiv:2103.14030.
    Raises: ShapeError if axes do not agree, as when the table was made for other `tokens`;
    ValueError if heads do not divide model_dim, height does not divide tokens, or a projection
    has a bias and no weight.
    """
    heads, tokens = table.shape[1], x.shape[1]
    _require_legal(model_dim=x.shape[2], heads=heads, tokens=tokens, height=height)
    split = "batch tokens (heads head_dim) -> batch heads tokens head_dim"
    q = rearrange(_project("query", x, query_weight, query_bias), split, heads=heads)
    k = rearrange(_project("key", x, key_weight, key_bias), split, heads=heads)
    v = rearrange(_project("value", x, value_weight, value_bias), split, heads=heads)
    if scale is None:
        scale = q.shape[-1] ** -0.5
    index = relative_index(height, tokens // height, device=table.device)
    bias = rearrange(table[index], "i j heads -> heads i j")
    logits = einsum(q * scale, k, "b h i d, b h j d -> b h i j") + bias
    weights = torch.softmax(logits, dim=-1)
    joined = rearrange(weights @ v, "batch heads tokens head_dim -> batch tokens (heads head_dim)")
    out = _project("output", joined, output_weight, output_bias)
    return (out, weights) if need_weights else out


@checked
def relative_index(
    height: int, width: int, *, device: torch.device | None = None
) -> Int[Tensor, "{height}*{width} {height}*{width}"]:
    """Row of the table for query i and key j: offsets i - j, from the most negative, row by row."""
    position = torch.arange(height * width, device=device)
    rows, columns = position // width, position % width
    row_offset = rows[:, None] - rows[None, :] + height - 1
    column_offset = columns[:, None] - columns[None, :] + width - 1
    # A step of one row passes all 2 · width - 1 column offsets; fewer, and two offsets collide.
    return row_offset * (2 * width - 1) + column_offset


def _project(name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        return linear(x, weight, bias)
    if bias is not None:
        raise ValueError(f"relative_position: {name}_bias needs {name}_weight, which is missing")
    return x


def _require_legal(*, model_dim: int, heads: int, tokens: int, height: int) -> None:
    if heads < 1 or model_dim % heads:
        raise ValueError(
            "relative_position: model_dim must be a multiple of heads, "
            f"got model_dim={model_dim}, heads={heads}"
        )
    if height < 1 or tokens < 1 or tokens % height:
        raise ValueError(
            f"relative_position: tokens must be a multiple of height, got tokens={tokens}, height={height}"
        )


class RelativePosition(nn.Module):
    """`relative_position` with table and projections as parameters.

    `with_qkv=False` attends with x itself as query, key and value, and has no output projection.
    """

    def __init__(
        self,
        model_dim: int,
        heads: int,
        tokens: int,
        *,
        height: int = 1,
        with_qkv: bool = True,
        bias: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        _require_legal(model_dim=model_dim, heads=heads, tokens=tokens, height=height)
        self.model_dim, self.heads, self.tokens, self.height = model_dim, heads, tokens, height
        self.scale = scale
        offsets = (2 * height - 1) * (2 * (tokens // height) - 1)
        # Not zeros: a table that starts even hides that nobody reads it.
        self.table = nn.Parameter(torch.empty(offsets, heads).normal_(std=0.02))
        self.query = nn.Linear(model_dim, model_dim, bias=bias) if with_qkv else None
        self.key = nn.Linear(model_dim, model_dim, bias=bias) if with_qkv else None
        self.value = nn.Linear(model_dim, model_dim, bias=bias) if with_qkv else None
        self.output = nn.Linear(model_dim, model_dim, bias=bias) if with_qkv else None

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.tokens} {self.model_dim}"], *, need_weights: bool = False
    ) -> (
        Float[Tensor, "batch {self.tokens} {self.model_dim}"]
        | tuple[
            Float[Tensor, "batch {self.tokens} {self.model_dim}"],
            Float[Tensor, "batch {self.heads} {self.tokens} {self.tokens}"],
        ]
    ):
        """Let every token attend to every token."""
        layers = (self.query, self.key, self.value, self.output)
        weights = [None if layer is None else layer.weight for layer in layers]
        biases = [None if layer is None else layer.bias for layer in layers]
        return relative_position(
            x, self.table, *weights, *biases,
            height=self.height, scale=self.scale, need_weights=need_weights,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="relative_position",
    title="Self-attention with a relative position bias",
    formula=(
        r"\mathrm{concat}_h\!\left(\mathrm{softmax}\!\left(q_h k_h^\top / \sqrt{\mathrm{head\_dim}}"
        r" + B_h\right) v_h\right) W_o^\top,\quad B_{h,ij} = \mathrm{table}_{i-j,\,h}"
    ),
    call=relative_position,
    module=RelativePosition,
    outputs=("out", "weights"),
    cite=(Citation("Swin Transformer", "https://arxiv.org/abs/2103.14030", "equation 4"),),
    differs_from="Shaw's offsets have vectors that meet the query; T5's share entries and are not scaled.",
    contract=Contract(
        rules=(
            Rule("heads >= 1 and model_dim % heads == 0", "heads share model_dim evenly"),
            Rule("tokens >= 1", "a table of offsets needs a token"),
            Rule("height >= 1 and tokens % height == 0", "rows of a window are equally long"),
        ),
        options=(
            Option("height", (1, 2, 3), "rows of the window; a sequence has one"),
            Option("with_qkv", (True, False), "whether there are projections"),
            Option("bias", (True, False), "whether the projections have a bias"),
            Option("scale", (None, 0.3), "factor on the logits before the table; 1/√head_dim if None"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("zero_table_forgets_order", axes=("tokens",), parameters=("table",)),
            Law("ignores_shifted_table", axes=("heads",), parameters=("table",)),
            Law("follows_reversal", axes=("tokens",), parameters=("table",)),
            Law("table_peak_selects_offset", axes=("tokens",), parameters=("table",)),
            Law("depends_on_table", axes=("tokens",), parameters=("table",), when="tokens > 1"),
            Law("zero_key_gives_the_mean", axes=("tokens",), parameters=("key", "table"), when="with_qkv"),
            Law(
                "one_key_gives_its_value",
                axes=("tokens",),
                parameters=("query", "key", "table"),
                when="with_qkv",
            ),
            Law("ignores_opposite_rescaling", parameters=("query", "key"), when="with_qkv"),
            Law("ignores_key_bias", parameters=("key.bias",), when="with_qkv and bias"),
            Law("linear_in_values", parameters=("value",), when="with_qkv"),
            Law("survives_large_logits", parameters=("query", "key"), when="with_qkv"),
            Law("survives_large_logits", inputs=("x", "x"), when="not with_qkv"),
            Law("survives_large_logits", parameters=("table",)),
        ),
        broken_laws=(
            BrokenLaw(
                Law("follows_query_order", axes=("tokens",), when="tokens > 1"),
                "the table tells positions apart",
            ),
            BrokenLaw(
                Law("ignores_duplicated_keys", axes=("tokens",)),
                "a longer sequence has more offsets",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "layout"),
    ),
)
