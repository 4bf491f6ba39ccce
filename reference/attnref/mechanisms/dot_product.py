"""Dot-product attention with valid lengths: one head, no projections."""

import math

from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from attnref._checked import checked
from attnref._mechanism import Citation, Contract, Law, Mechanism
from attnref.mechanisms.masked_softmax import masked_softmax


@checked
def dot_product(
    queries: Float[Tensor, "batch q_len head_dim"],
    keys: Float[Tensor, "batch kv_len head_dim"],
    values: Float[Tensor, "batch kv_len v_dim"],
    valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
    *,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch q_len v_dim"]
    | tuple[Float[Tensor, "batch q_len v_dim"], Float[Tensor, "batch q_len kv_len"]]
):
    """Average the values, weighted by softmax(queries keysᵀ / √head_dim) over the valid keys.

    `valid_lens` counts the keys, from the first, that a sample (or each of its queries) may
    attend to. A query without valid keys gets zeros.

    Differs from: d2l.DotProductAttention, a module with dropout that keeps its last weights.

    Source: Vaswani et al. 2017, equation 1, arXiv:1706.03762.
    Raises: ShapeError if axes do not agree or a length is no integer.
    """
    # Scale before the product: at float16, 64 products of 60 · 60 exceed the largest number.
    scaled = queries / math.sqrt(queries.shape[2])
    weights = masked_softmax(einsum(scaled, keys, "b i d, b j d -> b i j"), valid_lens)
    out = einsum(weights, values, "b i j, b j d -> b i d")
    return (out, weights) if need_weights else out


MECHANISM = Mechanism(
    id="dot_product",
    title="Dot-product attention with valid lengths",
    formula=r"\mathrm{masked\_softmax}\!\left(q k^\top / \sqrt{\mathrm{head\_dim}},\ n\right) v",
    call=dot_product,
    outputs=("out", "weights"),
    cite=(
        Citation("Attention Is All You Need", "https://arxiv.org/abs/1706.03762", "equation 1"),
        Citation(
            "Dive into Deep Learning",
            "https://d2l.ai/chapter_attention-mechanisms-and-transformers/attention-scoring-functions.html",
            "section 11.3.3",
        ),
    ),
    differs_from="d2l.DotProductAttention is a module with dropout that keeps its last weights.",
    contract=Contract(
        lengths={"valid_lens": "kv_len"},
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("weights_sum_to_one", axes=("kv_len",), inputs=("values",)),
            Law("stays_within_values", axes=("kv_len",), inputs=("values",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("keys", "values")),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("queries",)),
            Law("ignores_opposite_rescaling", inputs=("queries", "keys")),
            Law("ignores_shifted_keys", inputs=("keys",)),
            Law("linear_in_values", inputs=("values",)),
            Law("survives_large_logits", inputs=("queries", "keys")),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
        ),
        conventions=(
            "fully_masked_row",
            "empty_axes",
            "mismatched_size_one",
            "weights_returned",
            "softmax_precision",
            "layout",
        ),
    ),
)
