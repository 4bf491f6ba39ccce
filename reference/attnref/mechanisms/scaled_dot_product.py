"""Scaled dot-product attention: every query averages the values, weighted by how well keys match."""

from typing import Literal

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

from attnref._checked import checked
from attnref._mechanism import Citation, Contract, Law, Mechanism, Option

Alignment = Literal["upper_left", "lower_right"]


@checked
def scaled_dot_product(
    q: Float[Tensor, "batch heads q_len head_dim"],
    k: Float[Tensor, "batch heads kv_len head_dim"],
    v: Float[Tensor, "batch heads kv_len v_dim"],
    mask: Bool[Tensor, "#batch #heads #q_len #kv_len"] | None = None,
    bias: Float[Tensor, "#batch #heads #q_len #kv_len"] | None = None,
    *,
    causal: bool = False,
    alignment: Alignment = "upper_left",
    scale: float | None = None,
    soft_cap: float | None = None,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch heads q_len v_dim"]
    | tuple[
        Float[Tensor, "batch heads q_len v_dim"],
        Float[Tensor, "batch heads q_len kv_len"],
    ]
):
    """Average the values of each query's keys, weighted by softmax(q kᵀ · scale).

    The order is scale, soft cap, bias and mask, softmax. `scale` is 1/√head_dim unless given;
    `soft_cap` c bounds a logit s to c·tanh(s/c). In `mask`, True means "may attend"; `bias` is
    added to the logits. `causal` lets query i see keys up to i (`upper_left`) or up to
    i + kv_len - q_len (`lower_right`).

    A query that may attend to nothing, or that has no keys at all, gets zeros and zero gradients.

    Differs from: torch.nn.functional.scaled_dot_product_attention, whose `attn_mask` is either
    of the two and excludes `is_causal`, and which has no soft cap.

    Source: Vaswani et al. 2017, equation 1, arXiv:1706.03762.
    Raises: ShapeError if axes do not agree or a mask would enlarge the output.
    """
    if scale is None:
        scale = q.shape[-1] ** -0.5
    # Scaled before the product: in float16 the product of what is unscaled may overflow.
    logits = einsum(q * scale, k, "b h i d, b h j d -> b h i j")
    if soft_cap is not None:
        logits = soft_cap * torch.tanh(logits / soft_cap)
    if bias is not None:
        logits = logits + bias
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    if causal:
        visible = causal_mask(q.shape[2], k.shape[2], alignment, device=q.device)
        logits = logits.masked_fill(~visible, -torch.inf)
    weights = softmax_or_zeros(logits)
    out = einsum(weights, v, "b h i j, b h j d -> b h i d")
    return (out, weights) if need_weights else out


@checked
def causal_mask(
    q_len: int, kv_len: int, alignment: Alignment = "upper_left", *, device: torch.device | None = None
) -> Bool[Tensor, "{q_len} {kv_len}"]:
    """True where query i may see key j: j ≤ i, or j ≤ i + kv_len - q_len for `lower_right`."""
    offset = kv_len - q_len if alignment == "lower_right" else 0
    i = torch.arange(q_len, device=device)[:, None]
    j = torch.arange(kv_len, device=device)[None, :]
    return j <= i + offset


@checked
def softmax_or_zeros(logits: Float[Tensor, "*rows kv_len"]) -> Float[Tensor, "*rows kv_len"]:
    """Softmax along the last axis; a row of nothing but -inf gives zeros."""
    dead = logits.isneginf().all(dim=-1, keepdim=True)
    # Clean the row before the softmax, not after: else its gradient is 0 · NaN = NaN.
    weights = torch.softmax(logits.masked_fill(dead, 0.0), dim=-1)
    return weights.masked_fill(dead, 0.0)


MECHANISM = Mechanism(
    id="scaled_dot_product",
    title="Scaled dot-product attention",
    formula=r"\mathrm{softmax}\!\left(q k^\top / \sqrt{\mathrm{head\_dim}} + \mathrm{bias}\right) v",
    call=scaled_dot_product,
    outputs=("out", "weights"),
    cite=(Citation("Attention Is All You Need", "https://arxiv.org/abs/1706.03762", "equation 1"),),
    differs_from="torch's operator takes mask or bias in one argument and has no soft cap.",
    contract=Contract(
        options=(
            Option("causal", (False, True), "query i sees keys up to i"),
            Option("alignment", ("upper_left", "lower_right"), "where the causal diagonal starts"),
            Option("scale", (None, 0.3), "factor on the logits; 1/√head_dim if None"),
            Option("soft_cap", (None, 2.0), "bound on the logits before bias and mask"),
        ),
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("follows_head_order", axes=("heads",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("heads_do_not_mix", axes=("heads",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("weights_sum_to_one", axes=("kv_len",), inputs=("v",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("k", "v")),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("q",)),
            Law("ignores_opposite_rescaling", inputs=("q", "k")),
            Law("ignores_shifted_keys", inputs=("k",)),
            Law("linear_in_values", inputs=("v",)),
            Law("survives_large_logits", inputs=("q", "k")),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
            Law("causal_sees_no_future", axes=("q_len", "kv_len")),
        ),
        conventions=(
            "mask_polarity",
            "causal_alignment",
            "fully_masked_row",
            "empty_axes",
            "mismatched_size_one",
            "weights_returned",
            "softmax_precision",
            "layout",
        ),
    ),
)
