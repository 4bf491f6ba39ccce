"""Additive attention: a small network scores each pair of query and key, whose sizes may differ."""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule
from attnref.mechanisms.masked_softmax import masked_softmax


@checked
def additive(
    queries: Float[Tensor, "batch q_len query_size"],
    keys: Float[Tensor, "batch kv_len key_size"],
    values: Float[Tensor, "batch kv_len v_dim"],
    query_weight: Float[Tensor, "hidden query_size"],
    key_weight: Float[Tensor, "hidden key_size"],
    score_weight: Float[Tensor, "1 hidden"],
    valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
    query_bias: Float[Tensor, " hidden"] | None = None,
    key_bias: Float[Tensor, " hidden"] | None = None,
    score_bias: Float[Tensor, "1"] | None = None,
    *,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch q_len v_dim"]
    | tuple[Float[Tensor, "batch q_len v_dim"], Float[Tensor, "batch q_len kv_len"]]
):
    """Average the values, weighted by softmax(w_vᵀ tanh(W_q q + W_k k)) over the valid keys.

    `valid_lens` counts the keys, from the first, that a sample (or each of its queries) may
    attend to. A query without valid keys gets zeros. Nothing is scaled. The paper has no biases;
    that of the scores changes nothing, as softmax ignores what all keys share.

    Differs from: d2l.AdditiveAttention, which has dropout and keeps its last weights.

    Source: Bahdanau et al. 2015, appendix A.1.2, arXiv:1409.0473.
    Raises: ShapeError if axes do not agree or a length is no integer.
    """
    projected_queries = linear(queries, query_weight, query_bias)[:, :, None]
    projected_keys = linear(keys, key_weight, key_bias)[:, None]
    features = torch.tanh(projected_queries + projected_keys)
    scores = linear(features, score_weight, score_bias)[..., 0]
    weights = masked_softmax(scores, valid_lens)
    out = einsum(weights, values, "b i j, b j d -> b i d")
    return (out, weights) if need_weights else out


class Additive(nn.Module):
    """`additive` with the three weights as parameters; the paper's have no bias."""

    def __init__(self, query_size: int, key_size: int, hidden: int, *, bias: bool = False) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"additive: hidden must be at least 1, got hidden={hidden}")
        self.query_size, self.key_size, self.hidden = query_size, key_size, hidden
        self.query = nn.Linear(query_size, hidden, bias=bias)
        self.key = nn.Linear(key_size, hidden, bias=bias)
        self.score = nn.Linear(hidden, 1, bias=bias)

    @checked
    def forward(
        self,
        queries: Float[Tensor, "batch q_len {self.query_size}"],
        keys: Float[Tensor, "batch kv_len {self.key_size}"],
        values: Float[Tensor, "batch kv_len v_dim"],
        valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
        *,
        need_weights: bool = False,
    ) -> (
        Float[Tensor, "batch q_len v_dim"]
        | tuple[Float[Tensor, "batch q_len v_dim"], Float[Tensor, "batch q_len kv_len"]]
    ):
        """Attend from queries to keys and values."""
        return additive(
            queries, keys, values, self.query.weight, self.key.weight, self.score.weight,
            valid_lens, self.query.bias, self.key.bias, self.score.bias, need_weights=need_weights,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="additive",
    title="Additive attention",
    formula=r"\mathrm{masked\_softmax}\!\left(w_v^\top \tanh(W_q q_i + W_k k_j),\ n\right) v",
    call=additive,
    module=Additive,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "Neural Machine Translation by Jointly Learning to Align and Translate",
            "https://arxiv.org/abs/1409.0473",
            "appendix A.1.2",
        ),
    ),
    differs_from="d2l.AdditiveAttention has dropout and keeps its last weights.",
    contract=Contract(
        rules=(Rule("hidden >= 1", "without hidden units every score is zero"),),
        lengths={"valid_lens": "kv_len"},
        options=(Option("bias", (False, True), "whether projections and scores have a bias"),),
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("weights_sum_to_one", axes=("kv_len",), inputs=("values",)),
            Law("stays_within_values", axes=("kv_len",), inputs=("values",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("values",), parameters=("key",)),
            Law("zero_scores_give_the_mean", axes=("kv_len",), inputs=("values",), parameters=("score",)),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("queries",)),
            Law("ignores_joint_sign", parameters=("query", "key", "score")),
            Law("linear_in_values", inputs=("values",)),
            Law("survives_large_logits", parameters=("score.weight",)),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
        ),
        broken_laws=(
            BrokenLaw(
                Law("ignores_opposite_rescaling", parameters=("query", "key")),
                "query and key are added, not multiplied",
            ),
            BrokenLaw(
                Law("ignores_shifted_keys", inputs=("keys",)),
                "tanh stands between the key and its score",
            ),
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
