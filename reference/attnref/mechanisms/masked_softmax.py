"""Masked softmax: scores become weights, and keys beyond a sample's valid length get none."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism
from attnref.mechanisms.scaled_dot_product import softmax_or_zeros


@checked
def masked_softmax(
    scores: Float[Tensor, "batch q_len kv_len"],
    valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch q_len kv_len"]:
    """Turn each row of scores into weights that sum to one over the first `valid_lens` keys.

    weights[b, i, j] = exp(scores[b, i, j]) / Σ exp(scores[b, i, :n]) for j < n, else 0.

    A length counts for every query of a sample, or for one query each. Without lengths every key
    is valid. A row of length 0 gets zeros and zero gradients; a negative length counts as 0, one
    above kv_len as kv_len. The scores are never written to.

    Differs from: d2l.masked_softmax, which overwrites its input, fills with -1e6 (so that a
    lower score loses to a masked one), and spreads a row of length 0 evenly.

    Source: Zhang et al., Dive into Deep Learning, section 11.3.2.
    Raises: ShapeError if axes do not agree or a length is no integer.
    """
    if valid_lens is not None:
        # Not a large negative number: a score may be lower than any number one would choose.
        scores = scores.masked_fill(~visible_keys(valid_lens, scores.shape[2]), -torch.inf)
    return softmax_or_zeros(scores)


@checked
def visible_keys(
    valid_lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"], kv_len: int
) -> Bool[Tensor, "batch #q_len {kv_len}"]:
    """True where key j is one of the first `valid_lens`; one row serves all queries of a sample."""
    per_query = valid_lens if valid_lens.dim() == 2 else valid_lens[:, None]
    return torch.arange(kv_len, device=valid_lens.device) < per_query[:, :, None]


MECHANISM = Mechanism(
    id="masked_softmax",
    title="Masked softmax",
    formula=(
        r"w_{ij} = \frac{[j < n_i]\, \exp s_{ij}}{\sum_{l < n_i} \exp s_{il}}"
        r"\quad (w_{ij} = 0 \text{ if } n_i = 0)"
    ),
    call=masked_softmax,
    cite=(
        Citation(
            "Dive into Deep Learning",
            "https://d2l.ai/chapter_attention-mechanisms-and-transformers/attention-scoring-functions.html",
            "section 11.3.2",
        ),
    ),
    differs_from="d2l's overwrites its input, fills with -1e6, and spreads a row of length 0 evenly.",
    contract=Contract(
        lengths={"valid_lens": "kv_len"},
        laws=(
            Law("follows_key_order", axes=("kv_len",), inputs=("scores",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("samples_do_not_mix", axes=("batch",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("weights_sum_to_one", axes=("kv_len",)),
            Law("ignores_shifted_scores", axes=("kv_len",), inputs=("scores",)),
            Law("survives_large_logits", inputs=("scores",)),
            Law("masked_weights_are_zero", axes=("kv_len",)),
            Law("masked_equals_removed", axes=("kv_len",)),
            Law("full_mask_changes_nothing"),
        ),
        broken_laws=(
            BrokenLaw(
                Law("ignores_duplicated_keys", axes=("kv_len",)),
                "weights are the answer here, and two equal keys share the weight of one",
            ),
        ),
        conventions=(
            "fully_masked_row",
            "empty_axes",
            "mismatched_size_one",
            "softmax_precision",
        ),
    ),
)
