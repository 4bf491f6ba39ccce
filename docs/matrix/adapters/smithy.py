"""Multi-head attention of attention-smithy, which is handed its method and its positions."""

from attention_smithy.attention import StandardAttentionMethod
from attention_smithy.components import MultiheadAttention
from attention_smithy.numeric_embeddings import NumericEmbeddingManager


class MultiHead:
    """Queries, keys and values are as wide as the model."""

    mechanism = "multi_head"
    fixed = {"bias": True}
    derived = {"query_size": "model_dim", "key_size": "model_dim", "value_size": "model_dim"}

    def build(self, model_dim, heads):
        return MultiheadAttention(model_dim, heads, StandardAttentionMethod())

    def load(self, module, weights):
        for name in ("query", "key", "value", "output"):
            own = getattr(module, f"{name.replace('output', 'out')}_weights")
            own.load_state_dict({k: weights[f"{name}.{k}"] for k in ("weight", "bias")})

    def call(self, module, q, k, v):
        return module(q, k, v, NumericEmbeddingManager([]), padding_and_loss_attention_mask=None)[0]
