"""Cross-attention with one head: one sequence asks, another answers with both keys and values."""

import math

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from attnref._checked import checked
from attnref._mechanism import Citation, Contract, Law, Mechanism, Option
from attnref.mechanisms.scaled_dot_product import softmax_or_zeros


@checked
def cross(
    x: Float[Tensor, "batch q_len query_size"],
    y: Float[Tensor, "batch kv_len key_size"],
    query_weight: Float[Tensor, "head_dim query_size"],
    key_weight: Float[Tensor, "head_dim key_size"],
    value_weight: Float[Tensor, "v_dim key_size"],
    query_bias: Float[Tensor, " head_dim"] | None = None,
    key_bias: Float[Tensor, " head_dim"] | None = None,
    value_bias: Float[Tensor, " v_dim"] | None = None,
    mask: Bool[Tensor, "#batch #q_len #kv_len"] | None = None,
    *,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch q_len v_dim"]
    | tuple[Float[Tensor, "batch q_len v_dim"], Float[Tensor, "batch q_len kv_len"]]
):
    """Let x look at y: queries come from x; keys and values, each directly, from y.

    In `mask`, True means "may attend". A query that may attend to nothing gets zeros.

    Differs from: torch.nn.MultiheadAttention, which has several heads and an output projection.

    Source: Vaswani et al. 2017, section 3.2.3, arXiv:1706.03762.
    Raises: ShapeError if axes do not agree or the mask would enlarge the output.
    """
    q = linear(x, query_weight, query_bias)
    # Values come from y itself. Projecting them from the projected keys keeps every shape
    # when key_size equals head_dim, and is the best hidden mistake of published code.
    k = linear(y, key_weight, key_bias)
    v = linear(y, value_weight, value_bias)
    logits = einsum(q / math.sqrt(q.shape[-1]), k, "b i d, b j d -> b i j")
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    weights = softmax_or_zeros(logits)
    out = einsum(weights, v, "b i j, b j d -> b i d")
    return (out, weights) if need_weights else out


class Cross(nn.Module):
    """`cross` with the projections as parameters.

    `head_dim` is the width of queries and keys, `v_dim` that of values and output.
    """

    def __init__(
        self, query_size: int, key_size: int, head_dim: int, v_dim: int, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.query_size, self.key_size = query_size, key_size
        self.head_dim, self.v_dim = head_dim, v_dim
        self.query = nn.Linear(query_size, head_dim, bias=bias)
        self.key = nn.Linear(key_size, head_dim, bias=bias)
        self.value = nn.Linear(key_size, v_dim, bias=bias)

    @checked
    def forward(
        self,
        x: Float[Tensor, "batch q_len {self.query_size}"],
        y: Float[Tensor, "batch kv_len {self.key_size}"],
        mask: Bool[Tensor, "#batch #q_len #kv_len"] | None = None,
        *,
        need_weights: bool = False,
    ) -> (
        Float[Tensor, "batch q_len {self.v_dim}"]
        | tuple[Float[Tensor, "batch q_len {self.v_dim}"], Float[Tensor, "batch q_len kv_len"]]
    ):
        """Let x look at y."""
        return cross(
            x,
            y,
            self.query.weight,
            self.key.weight,
            self.value.weight,
            self.query.bias,
            self.key.bias,
            self.value.bias,
            mask,
            need_weights=need_weights,
        )


MECHANISM = Mechanism(
    id="cross",
    title="Cross-attention",
    formula=r"\mathrm{softmax}\!\left(x W_q^\top (y W_k^\top)^\top / \sqrt{\mathrm{head\_dim}}\right) y W_v^\top",
    call=cross,
    module=Cross,
    outputs=("out", "weights"),
    cite=(Citation("Attention Is All You Need", "https://arxiv.org/abs/1706.03762", "section 3.2.3"),),
    differs_from="torch.nn.MultiheadAttention has several heads and an output projection.",
    contract=Contract(
        options=(Option("bias", (True, False), "whether the projections have a bias"),),
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("y",), parameters=("key",)),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("x",)),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law("ignores_key_bias", parameters=("key.bias",)),
            Law("linear_in_values", parameters=("value",)),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
        ),
        conventions=(
            "mask_polarity",
            "fully_masked_row",
            "empty_axes",
            "mismatched_size_one",
            "weights_returned",
            "softmax_precision",
            "layout",
        ),
    ),
)
