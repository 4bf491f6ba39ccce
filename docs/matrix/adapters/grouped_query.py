"""Attention with grouped heads, called with as many key heads as query heads; length stands before heads."""

from grouped_query_attention_pytorch.attention import scaled_dot_product_gqa


class ScaledDotProduct:
    """Takes values as wide as keys only, and a mask or the causal flag, not both."""

    mechanism = "scaled_dot_product"
    derived = {"v_dim": "head_dim"}
    exclusive = ("mask", "causal")

    def build(self):
        return scaled_dot_product_gqa

    def call(self, function, q, k, v, causal=False):
        out, _ = function(*(t.transpose(1, 2) for t in (q, k, v)), is_causal=causal or None)
        return out.transpose(1, 2)
