"""Criss-cross attention: every pixel averages its column and its row, and adds the result to itself."""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule
from attnref.mechanisms._pixels import require_pixels
from attnref.mechanisms._pointwise import pointwise


@checked
def criss_cross(
    x: Float[Tensor, "batch channels height width"],
    query_weight: Float[Tensor, "reduced channels"],
    key_weight: Float[Tensor, "reduced channels"],
    value_weight: Float[Tensor, "channels channels"],
    gamma: Float[Tensor, "1"],
    query_bias: Float[Tensor, " reduced"] | None = None,
    key_bias: Float[Tensor, " reduced"] | None = None,
    value_bias: Float[Tensor, " channels"] | None = None,
    *,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch channels height width"]
    | tuple[
        Float[Tensor, "batch channels height width"],
        Float[Tensor, "batch height width height+width-1"],
    ]
):
    """Add to x, times gamma, what every pixel reads from its column and row: γ · softmax(q kᵀ) v + x.

    One softmax runs over column and row together, in which the pixel itself counts once. Logits
    are not scaled. The weights of a pixel stand in this order: its column from the top without
    itself, then its row from the left.

    Differs from: cross-attention, which has two inputs; the authors' code, which keeps a place of
    weight zero for the pixel in its column.

    Source: Huang et al. 2019, section 3.2, arXiv:1811.11721.
    Raises: ShapeError if axes do not agree or the map has no pixel.
    """
    require_pixels("criss_cross", x)
    q = pointwise(x, query_weight, query_bias)
    k = pointwise(x, key_weight, key_bias)
    v = pointwise(x, value_weight, value_bias)
    height = x.shape[2]
    others = other_rows(height, device=x.device)
    column = einsum(q, k[:, :, others], "b d h w, b d h j w -> b h w j")
    row = einsum(q, k, "b d h w, b d h j -> b h w j")
    weights = torch.softmax(torch.cat([column, row], dim=-1), dim=-1)
    in_column, in_row = weights[..., : height - 1], weights[..., height - 1 :]
    read = einsum(in_column, v[:, :, others], "b h w j, b c h j w -> b c h w")
    read = read + einsum(in_row, v, "b h w j, b c h j -> b c h w")
    out = gamma * read + x
    return (out, weights) if need_weights else out


@checked
def other_rows(height: int, *, device: torch.device | None = None) -> Int[Tensor, "{height} {height}-1"]:
    """For every row, the numbers of all rows but itself, in order."""
    # To leave the pixel out of its column is exact; a logit of -inf would be one more case in
    # every gradient.
    j = torch.arange(height - 1, device=device)
    return j + (j >= torch.arange(height, device=device)[:, None]).long()


class CrissCross(nn.Module):
    """`criss_cross` with its projections and `gamma`, which is zero at birth, as parameters.

    `reduced`, the width of queries and keys, is an eighth of the channels unless given.
    """

    def __init__(self, channels: int, *, reduced: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.reduced = max(1, channels // 8) if reduced is None else reduced
        if min(channels, self.reduced) < 1:
            raise ValueError(
                f"criss_cross: channels and reduced must be at least 1, "
                f"got channels={channels}, reduced={self.reduced}"
            )
        self.query = nn.Conv2d(channels, self.reduced, 1, bias=bias)
        self.key = nn.Conv2d(channels, self.reduced, 1, bias=bias)
        self.value = nn.Conv2d(channels, channels, 1, bias=bias)
        self.gamma = nn.Parameter(torch.zeros(1))

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"], *, need_weights: bool = False
    ) -> (
        Float[Tensor, "batch {self.channels} height width"]
        | tuple[
            Float[Tensor, "batch {self.channels} height width"],
            Float[Tensor, "batch height width height+width-1"],
        ]
    ):
        """Let every pixel of x look at its column and row."""
        return criss_cross(
            x,
            self.query.weight.flatten(1),
            self.key.weight.flatten(1),
            self.value.weight.flatten(1),
            self.gamma,
            self.query.bias,
            self.key.bias,
            self.value.bias,
            need_weights=need_weights,
        )


_PIXELS = ("height", "width")

MECHANISM = Mechanism(
    id="criss_cross",
    title="Criss-cross attention",
    formula=r"\gamma\,\mathrm{softmax}_{j \in \mathrm{cross}(i)}\!\left(q_i k_j^\top\right) v_j + x_i",
    call=criss_cross,
    module=CrissCross,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "CCNet: Criss-Cross Attention for Semantic Segmentation",
            "https://arxiv.org/abs/1811.11721",
            "section 3.2",
        ),
    ),
    differs_from="Cross-attention has two inputs; this is self-attention on a row and a column.",
    contract=Contract(
        rules=(
            Rule("reduced >= 1", "a projection has at least one feature"),
            Rule("height >= 1 and width >= 1", "a map has at least one pixel"),
        ),
        defaults={"reduced": "max(1, channels // 8)"},
        options=(Option("bias", (True, False), "whether the projections have a bias"),),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("follows_row_order", axes=("height",)),
            Law("follows_column_order", axes=("width",)),
            Law("follows_pixel_order", axes=_PIXELS, when="height == 1 or width == 1"),
            Law("follows_transposed_image", axes=_PIXELS),
            Law("off_cross_pixel_has_no_influence", axes=_PIXELS, inputs=("x",)),
            Law("zero_gamma_gives_the_input", inputs=("x",), parameters=("gamma",)),
            Law("affine_in_gamma", parameters=("gamma",)),
            Law(
                "constant_image_gives_uniform_weights",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("query", "key"),
            ),
            Law(
                "zero_key_gives_the_mean_of_the_cross",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("key", "value", "gamma"),
            ),
            Law("weights_sum_to_one", inputs=("x",), parameters=("value",), when="bias"),
            Law("ignores_key_bias", parameters=("key.bias",), when="bias"),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law("linear_in_values", parameters=("value",)),
        ),
        broken_laws=(
            BrokenLaw(
                Law("follows_pixel_order", axes=_PIXELS, when="height > 1 and width > 1"),
                "a pixel knows which others share its row or column",
            ),
            BrokenLaw(
                Law("follows_tiling", axes=_PIXELS),
                "a copy of the pixel itself is one key more, in its row and again in its column",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "initial_values", "layout"),
    ),
)
