"""Spatial self-attention of an image: every pixel averages all pixels and adds the result to itself."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from attnref._checked import ShapeError, checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant
from attnref.mechanisms._pointwise import pointwise


@checked
def spatial_self(
    x: Float[Tensor, "batch channels height width"],
    query_weight: Float[Tensor, "reduced channels"],
    key_weight: Float[Tensor, "reduced channels"],
    value_weight: Float[Tensor, "v_dim channels"],
    gamma: Float[Tensor, "1"],
    query_bias: Float[Tensor, " reduced"] | None = None,
    key_bias: Float[Tensor, " reduced"] | None = None,
    value_bias: Float[Tensor, " v_dim"] | None = None,
    output_weight: Float[Tensor, "channels v_dim"] | None = None,
    output_bias: Float[Tensor, " channels"] | None = None,
    *,
    pool: int = 1,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch channels height width"]
    | tuple[
        Float[Tensor, "batch channels height width"],
        Float[Tensor, "batch height*width (height//{pool})*(width//{pool})"],
    ]
):
    """Add to x, times gamma, what every pixel reads from all pixels: γ · softmax(q kᵀ) v + x.

    Pixels are counted row by row. Logits are not scaled. With `pool`, keys and values are maxima
    over squares of that side: rows and columns that fill no square are queries only. Without an
    `output_weight`, the values have the channels of x.

    Differs from: the letters of the paper, which writes the weights as β_{j,i} for query j.

    Source: Zhang et al. 2019, section 3, arXiv:1805.08318.
    Raises: ShapeError if axes do not agree, or if the map is smaller than one pooled square.
    """
    require_square(pool, height=x.shape[2], width=x.shape[3])
    if output_weight is None and value_weight.shape[0] != x.shape[1]:
        raise ShapeError(
            f"spatial_self: without output_weight, value_weight must give channels={x.shape[1]}, "
            f"got v_dim={value_weight.shape[0]}"
        )
    flat = "batch features height width -> batch (height width) features"
    q = rearrange(pointwise(x, query_weight, query_bias), flat)
    # Keys and values are pooled after their projection, as in the authors' code.
    k = rearrange(max_pool2d(pointwise(x, key_weight, key_bias), pool), flat)
    v = rearrange(max_pool2d(pointwise(x, value_weight, value_bias), pool), flat)
    weights = torch.softmax(einsum(q, k, "b i d, b j d -> b i j"), dim=-1)
    read = rearrange(einsum(weights, v, "b i j, b j c -> b c i"), "b c (h w) -> b c h w", h=x.shape[2])
    if output_weight is not None:
        read = pointwise(read, output_weight, output_bias)
    out = gamma * read + x
    return (out, weights) if need_weights else out


def require_square(pool: int, *, height: int, width: int) -> None:
    """Raise ShapeError unless at least one square of side `pool` fits into the map."""
    if height < pool or width < pool:
        raise ShapeError(
            f"spatial_self: pool={pool} leaves no key: height and width must be at least pool, "
            f"got height={height}, width={width}"
        )


class SpatialSelf(nn.Module):
    """`spatial_self` with its projections and `gamma`, which is zero at birth, as parameters.

    `reduced`, the width of queries and keys, is an eighth of the channels unless given. With
    `projected`, a last projection leads from `v_dim` back to the channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduced: int | None = None,
        v_dim: int | None = None,
        projected: bool = False,
        pool: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.projected, self.pool = channels, projected, pool
        self.reduced = max(1, channels // 8) if reduced is None else reduced
        self.v_dim = channels if v_dim is None else v_dim
        self._require_sensible()
        self.query = nn.Conv2d(channels, self.reduced, 1, bias=bias)
        self.key = nn.Conv2d(channels, self.reduced, 1, bias=bias)
        self.value = nn.Conv2d(channels, self.v_dim, 1, bias=bias)
        self.output = nn.Conv2d(self.v_dim, channels, 1, bias=bias) if projected else None
        self.gamma = nn.Parameter(torch.zeros(1))

    def _require_sensible(self) -> None:
        if min(self.channels, self.reduced, self.v_dim, self.pool) < 1:
            raise ValueError(
                f"spatial_self: channels, reduced, v_dim and pool must be at least 1, got "
                f"channels={self.channels}, reduced={self.reduced}, v_dim={self.v_dim}, pool={self.pool}"
            )
        if not self.projected and self.v_dim != self.channels:
            raise ValueError(
                f"spatial_self: v_dim must equal channels unless projected, got "
                f"v_dim={self.v_dim}, channels={self.channels}"
            )

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"], *, need_weights: bool = False
    ) -> (
        Float[Tensor, "batch {self.channels} height width"]
        | tuple[
            Float[Tensor, "batch {self.channels} height width"],
            Float[Tensor, "batch height*width (height//{self.pool})*(width//{self.pool})"],
        ]
    ):
        """Let the pixels of x look at each other."""
        return spatial_self(
            x,
            self.query.weight.flatten(1), self.key.weight.flatten(1), self.value.weight.flatten(1),
            self.gamma,
            self.query.bias, self.key.bias, self.value.bias,
            None if self.output is None else self.output.weight.flatten(1),
            None if self.output is None else self.output.bias,
            pool=self.pool, need_weights=need_weights,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="spatial_self",
    title="Spatial self-attention",
    formula=r"\gamma\,\mathrm{softmax}\!\left(q k^\top\right) v + x",
    call=spatial_self,
    module=SpatialSelf,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "Self-Attention Generative Adversarial Networks", "https://arxiv.org/abs/1805.08318", "section 3"
        ),
    ),
    differs_from="Dot-product attention scales its logits; this one does not.",
    contract=Contract(
        rules=(
            Rule("reduced >= 1 and v_dim >= 1", "a projection has at least one feature"),
            Rule("projected or v_dim == channels", "what is added to x has its channels"),
            Rule("height >= pool and width >= pool", "pooling leaves at least one key"),
        ),
        defaults={"reduced": "max(1, channels // 8)", "v_dim": "channels"},
        options=(
            Option("projected", (False, True), "a 1×1 convolution from v_dim to channels comes last"),
            Option("pool", (1, 2), "side of the squares over which keys and values are maxima"),
            Option("bias", (True, False), "whether the projections have a bias"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("follows_pixel_order", axes=("height", "width"), when="pool == 1"),
            Law("follows_transposed_image", axes=("height", "width")),
            Law("follows_tiling", axes=("height", "width"), when="pool == 1"),
            Law("last_odd_row_is_no_key", axes=("height", "width"), inputs=("x",), when="pool == 2"),
            Law("zero_gamma_gives_the_input", inputs=("x",), parameters=("gamma",)),
            Law("affine_in_gamma", parameters=("gamma",)),
            Law(
                "constant_image_gives_uniform_weights",
                axes=("height", "width"),
                inputs=("x",),
                parameters=("query", "key"),
            ),
            Law(
                "zero_key_adds_the_mean",
                axes=("height", "width"),
                inputs=("x",),
                parameters=("key",),
                when="pool == 1",
            ),
            Law(
                "equal_values_hide_the_weights",
                parameters=("value.weight", "value.bias", "query", "key"),
                when="bias",
            ),
            Law("ignores_key_bias", parameters=("key.bias",), when="bias"),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law("linear_in_values", parameters=("value",), when="pool == 1"),
        ),
        broken_laws=(
            BrokenLaw(
                Law("follows_pixel_order", axes=("height", "width"), when="pool > 1"),
                "which pixels share a pooled square depends on where they stand",
            ),
            BrokenLaw(
                Law("linear_in_values", parameters=("value",), when="pool > 1"),
                "a maximum of sums is not the sum of the maxima",
            ),
            BrokenLaw(
                Law("follows_tiling", axes=("height", "width"), when="pool > 1"),
                "an odd row that filled no square fills one with the copy that follows it",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "initial_values", "layout"),
        variants=(
            Variant(
                "output_projection",
                "a 1×1 convolution after the sum over pixels",
                {"projected": True},
                "the paper's last version",
            ),
            Variant(
                "pooled_keys",
                "keys and values are max-pooled by two, and a 1×1 convolution comes last",
                {"projected": True, "pool": 2},
                "brain-research/self-attention-gan",
            ),
        ),
    ),
)
