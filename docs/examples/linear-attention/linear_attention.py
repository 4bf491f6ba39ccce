"""Linear attention: a feature map in the place of the exponential of softmax."""

from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

from attnref import Citation, Contract, Law, Mechanism, checked


@checked
def linear_attention(
    q: Float[Tensor, "batch heads q_len head_dim"],
    k: Float[Tensor, "batch heads kv_len head_dim"],
    v: Float[Tensor, "batch heads kv_len v_dim"],
) -> Float[Tensor, "batch heads q_len v_dim"]:
    """Average the values by φ(q)·φ(k), with φ = elu + 1."""
    weights = einsum(elu(q) + 1, elu(k) + 1, "b h q d, b h k d -> b h q k")
    return (weights / weights.sum(-1, keepdim=True)) @ v


MECHANISM = Mechanism(
    id="linear_attention",
    title="Linear attention",
    formula=r"\frac{\phi(q)^\top \sum_j \phi(k_j) v_j}{\phi(q)^\top \sum_j \phi(k_j)}",
    call=linear_attention,
    cite=(Citation("Transformers are RNNs", "https://arxiv.org/abs/2006.16236", "section 3.2"),),
    contract=Contract(
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("q", "k")),
            Law("stays_within_the_values", inputs=("v",)),
        )
    ),
)
