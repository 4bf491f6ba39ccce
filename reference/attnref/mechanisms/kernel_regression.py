"""Nadaraya–Watson kernel regression: attention whose scores are distances on a line."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism
from attnref.mechanisms.scaled_dot_product import softmax_or_zeros


@checked
def kernel_regression(
    queries: Float[Tensor, " q_len"],
    keys: Float[Tensor, "q_len kv_len"] | Float[Tensor, " kv_len"],
    values: Float[Tensor, "q_len kv_len"] | Float[Tensor, " kv_len"],
    inverse_width: Float[Tensor, ""] | None = None,
    *,
    need_weights: bool = False,
) -> Float[Tensor, " q_len"] | tuple[Float[Tensor, " q_len"], Float[Tensor, "q_len kv_len"]]:
    """Estimate a function at the queries from its values at the keys, near ones counting most.

    f(x) = Σ_j softmax_j(-((x - x_j) · w)² / 2) y_j, where w is `inverse_width`, 1 if not given.

    The kernel is Gaussian with standard deviation 1/|w|. Keys and values of rank 2 belong to one
    query each, as when a training pair must not predict itself. Without keys the answer is 0.

    Differs from: statsmodels KernelReg, whose `bw` is 1/w.

    Source: Nadaraya 1964, doi:10.1137/1109020; Watson 1964, Sankhyā A 26, pages 359 to 372.
    Raises: ShapeError if axes do not agree.
    """
    distances = (queries[:, None] - keys).abs()
    if inverse_width is not None:
        distances = distances * inverse_width.abs()
    weights = softmax_or_zeros(_gaussian_logits(distances))
    if values.dim() == 1:
        out = einsum(weights, values, "i j, j -> i")
    else:
        out = einsum(weights, values, "i j, i j -> i")
    return (out, weights) if need_weights else out


def _gaussian_logits(distances: Tensor) -> Tensor:
    """-distance²/2 along the last axis, up to a constant that the softmax removes.

    The nearest key gets exactly 0. Squares alone overflow at float16 for distances above 256,
    and a row in which all of them do has no softmax.
    """
    # An infinite key at the end lets an empty row have a nearest key too.
    nearest = pad(distances, (0, 1), value=torch.inf).amin(dim=-1, keepdim=True).detach()
    return -0.5 * (distances - nearest) * (distances + nearest)


class KernelRegression(nn.Module):
    """`kernel_regression` with a learned inverse width, 1 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.inverse_width = nn.Parameter(torch.ones(()))

    @checked
    def forward(
        self,
        queries: Float[Tensor, " q_len"],
        keys: Float[Tensor, "q_len kv_len"] | Float[Tensor, " kv_len"],
        values: Float[Tensor, "q_len kv_len"] | Float[Tensor, " kv_len"],
        *,
        need_weights: bool = False,
    ) -> Float[Tensor, " q_len"] | tuple[Float[Tensor, " q_len"], Float[Tensor, "q_len kv_len"]]:
        """Estimate a function at the queries from its values at the keys."""
        return kernel_regression(queries, keys, values, self.inverse_width, need_weights=need_weights)


MECHANISM = Mechanism(
    id="kernel_regression",
    title="Nadaraya–Watson kernel regression",
    formula=r"f(x_i) = \sum_j \mathrm{softmax}_j\!\left(-\tfrac{1}{2} ((x_i - x_j)\, w)^2\right) y_j",
    call=kernel_regression,
    module=KernelRegression,
    outputs=("out", "weights"),
    cite=(
        Citation("On Estimating Regression", "https://doi.org/10.1137/1109020"),
        Citation("Smooth Regression Analysis", "https://www.jstor.org/stable/25049340"),
    ),
    differs_from="statsmodels KernelReg takes the bandwidth 1/w.",
    contract=Contract(
        laws=(
            Law("ignores_key_order", axes=("kv_len",)),
            Law("follows_query_order", axes=("q_len",)),
            Law("queries_do_not_mix", axes=("q_len",)),
            Law("ignores_duplicated_keys", axes=("kv_len",)),
            Law("weights_sum_to_one", axes=("kv_len",), inputs=("values",)),
            Law("stays_within_values", axes=("kv_len",), inputs=("values",)),
            Law("zero_key_gives_the_mean", axes=("kv_len",), inputs=("keys", "values")),
            Law(
                "zero_scores_give_the_mean",
                axes=("kv_len",),
                inputs=("values",),
                parameters=("inverse_width",),
            ),
            Law("one_key_gives_its_value", axes=("kv_len",), inputs=("queries",)),
            Law("ignores_joint_shift", inputs=("queries", "keys")),
            Law("ignores_joint_sign", inputs=("queries", "keys")),
            Law("ignores_joint_sign", parameters=("inverse_width",)),
            Law("inverse_width_scales_distance", inputs=("queries", "keys"), parameters=("inverse_width",)),
            Law("linear_in_values", inputs=("values",)),
            Law("survives_large_logits", inputs=("queries", "keys")),
        ),
        broken_laws=(
            BrokenLaw(
                Law("ignores_opposite_rescaling", inputs=("queries", "keys")),
                "scores are differences, not products",
            ),
            BrokenLaw(
                Law("ignores_shifted_keys", inputs=("keys",)),
                "moving the keys alone changes every distance",
            ),
        ),
        conventions=("empty_axes", "mismatched_size_one", "weights_returned", "softmax_precision"),
    ),
)
