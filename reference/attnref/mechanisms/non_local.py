"""The non-local block: every position of a signal, an image or a clip reads from all positions."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, max_pool2d, max_pool3d

from attnref._checked import ShapeError, checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant
from attnref.mechanisms._pointwise import pointwise

Pairwise = Literal["embedded_gaussian", "dot_product"]
POOLED = {1: ("length",), 2: ("height", "width"), 3: ("height", "width")}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

Map = (
    Float[Tensor, "batch channels length"]
    | Float[Tensor, "batch channels height width"]
    | Float[Tensor, "batch channels time height width"]
)
OwnMap = (
    Float[Tensor, "batch {self.channels} length"]
    | Float[Tensor, "batch {self.channels} height width"]
    | Float[Tensor, "batch {self.channels} time height width"]
)


@checked
def non_local(
    x: Map,
    query_weight: Float[Tensor, "reduced channels"],
    key_weight: Float[Tensor, "reduced channels"],
    value_weight: Float[Tensor, "reduced channels"],
    output_weight: Float[Tensor, "channels reduced"],
    query_bias: Float[Tensor, " reduced"] | None = None,
    key_bias: Float[Tensor, " reduced"] | None = None,
    value_bias: Float[Tensor, " reduced"] | None = None,
    output_bias: Float[Tensor, " channels"] | None = None,
    *,
    norm: Callable[[Tensor], Tensor] | None = None,
    pairwise: Pairwise = "embedded_gaussian",
    scaled: bool = False,
    sub_sample: bool = False,
    pool_first: bool = False,
    need_weights: bool = False,
) -> Map | tuple[Map, Float[Tensor, "batch q_len kv_len"]]:
    """Add to x a projection, through `norm` if there is one, of what each position reads.

    The weights are softmax(q kᵀ), times reduced^-½ before the softmax if `scaled`; with the
    `dot_product`, they are q kᵀ divided by the number of keys, scaled or not. Positions are counted row by row.
    With `sub_sample`, keys and values are maxima over pairs along length, height and width, not
    along time: after their projections, or before with `pool_first`. An odd last row or column
    belongs to no pair: it is a query only.

    Differs from: the authors' code, which is `pool_first` and `scaled`.

    Source: Wang et al. 2018, equations 1, 3, 4 and 6, arXiv:1711.07971.
    Raises: ShapeError if axes do not agree, or if sub-sampling would leave no key.
    """
    if sub_sample:
        require_pairs(x)
    source = pooled(x) if sub_sample and pool_first else x
    q = pointwise(x, query_weight, query_bias)
    k = pointwise(source, key_weight, key_bias)
    v = pointwise(source, value_weight, value_bias)
    if sub_sample and not pool_first:
        k, v = pooled(k), pooled(v)
    q, k, v = (projected.flatten(2) for projected in (q, k, v))
    logits = einsum(q, k, "b d i, b d j -> b i j")
    if pairwise == "embedded_gaussian":
        weights = torch.softmax(logits / math.sqrt(q.shape[1]) if scaled else logits, dim=-1)
    else:
        # A mean over the keys keeps the dot product from growing with the map, as softmax does.
        weights = logits / k.shape[2]
    read = einsum(weights, v, "b i j, b d j -> b d i").reshape(*q.shape[:2], *x.shape[2:])
    projected = pointwise(read, output_weight, output_bias)
    out = x + (projected if norm is None else norm(projected))
    return (out, weights) if need_weights else out


def pooled(x: Tensor) -> Tensor:
    """Take maxima over pairs along every axis that sub-sampling halves."""
    if x.dim() == 3:
        return max_pool1d(x, 2)
    return max_pool2d(x, 2) if x.dim() == 4 else max_pool3d(x, (1, 2, 2))


def require_pairs(x: Tensor) -> None:
    """Raise ShapeError unless every axis that sub-sampling halves has at least two positions."""
    axes = POOLED[x.dim() - 2]
    sizes = dict(zip(axes, x.shape[-len(axes) :], strict=True))
    if min(sizes.values()) < 2:
        shown = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise ShapeError(f"non_local: sub_sample needs {' and '.join(axes)} of at least 2, got {shown}")


class NonLocal(nn.Module):
    """`non_local` for maps of one rank: 1 is a signal, 2 an image, 3 a clip.

    `reduced` is half the channels unless given. The last layer, which is `norm` if there is one
    and else `output`, is zero at birth: a fresh block gives its input back. In training, batch
    norm needs more than one position in the whole batch.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduced: int | None = None,
        rank: int = 2,
        pairwise: Pairwise = "embedded_gaussian",
        scaled: bool = False,
        sub_sample: bool = False,
        pool_first: bool = False,
        norm: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.rank = channels, rank
        self.reduced = max(1, channels // 2) if reduced is None else reduced
        self.pairwise, self.scaled = pairwise, scaled
        self.sub_sample, self.pool_first = sub_sample, pool_first
        if rank not in CONVOLUTIONS:
            raise ValueError(f"non_local: rank must be 1, 2 or 3, got rank={rank}")
        if min(channels, self.reduced) < 1:
            raise ValueError(
                f"non_local: channels and reduced must be at least 1, got "
                f"channels={channels}, reduced={self.reduced}"
            )
        convolution = CONVOLUTIONS[rank]
        self.query = convolution(channels, self.reduced, 1, bias=bias)
        self.key = convolution(channels, self.reduced, 1, bias=bias)
        self.value = convolution(channels, self.reduced, 1, bias=bias)
        self.output = convolution(self.reduced, channels, 1, bias=bias)
        self.norm = NORMS[rank](channels) if norm else None
        last = self.output if self.norm is None else self.norm
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    @checked
    def forward(
        self, x: OwnMap, *, need_weights: bool = False
    ) -> OwnMap | tuple[OwnMap, Float[Tensor, "batch q_len kv_len"]]:
        """Let the positions of x look at each other."""
        if x.dim() != self.rank + 2:
            raise ShapeError(
                f"NonLocal: with rank={self.rank}, x must have {self.rank + 2} axes, "
                f"got {x.dim()}: {tuple(x.shape)}"
            )
        return non_local(
            x,
            self.query.weight.flatten(1), self.key.weight.flatten(1),
            self.value.weight.flatten(1), self.output.weight.flatten(1),
            self.query.bias, self.key.bias, self.value.bias, self.output.bias,
            norm=self.norm, pairwise=self.pairwise, scaled=self.scaled,
            sub_sample=self.sub_sample, pool_first=self.pool_first, need_weights=need_weights,
        )  # fmt: skip


_POSITIONS = ("length", "time", "height", "width")

MECHANISM = Mechanism(
    id="non_local",
    title="Non-local block",
    formula=r"W_o\,\mathrm{softmax}\!\left(q k^\top\right) v + x",
    call=non_local,
    module=NonLocal,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "Non-local Neural Networks",
            "https://arxiv.org/abs/1711.07971",
            "equations 1, 3, 4 and 6, section 3.3",
        ),
    ),
    differs_from="The authors' code pools before it projects, and scales the logits.",
    contract=Contract(
        rules=(
            Rule("channels >= 1 and reduced >= 1", "a projection has at least one feature"),
            Rule("rank in (1, 2, 3)", "a signal, an image or a clip"),
            Rule("rank != 1 or not sub_sample or length >= 2", "sub-sampling leaves at least one key"),
            Rule(
                "rank == 1 or not sub_sample or (height >= 2 and width >= 2)",
                "sub-sampling leaves at least one key",
            ),
        ),
        defaults={"reduced": "max(1, channels // 2)"},
        options=(
            Option("rank", (2, 1, 3), "axes of positions: 1 is length, 2 height and width, 3 has time"),
            Option("pairwise", ("embedded_gaussian", "dot_product"), "softmax, or division by the keys"),
            Option("scaled", (False, True), "logits of the embedded Gaussian are multiplied by reduced^-½"),
            Option("sub_sample", (False, True), "keys and values are maxima over pairs"),
            Option("pool_first", (False, True), "maxima are taken before the projections"),
            Option("norm", (False, True), "batch norm after the output projection"),
            Option("bias", (True, False), "whether the projections have a bias"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",), only_eval=True),
            Law("follows_pixel_order", axes=_POSITIONS, when="not sub_sample"),
            Law("follows_transposed_image", axes=("height", "width"), when="rank >= 2"),
            Law("follows_tiling", axes=_POSITIONS, when="not sub_sample"),
            Law(
                "last_odd_row_is_no_key",
                axes=("length", "height", "width"),
                inputs=("x",),
                only_eval=True,
                when="sub_sample",
            ),
            Law("zero_output_gives_the_input", inputs=("x",), parameters=("output",), when="not norm"),
            Law("zero_output_gives_the_input", inputs=("x",), parameters=("norm",), when="norm"),
            Law(
                "constant_image_gives_uniform_weights",
                axes=_POSITIONS,
                inputs=("x",),
                parameters=("query", "key"),
                only_eval=True,
                when="pairwise == 'embedded_gaussian'",
            ),
            Law(
                "zero_key_adds_the_mean",
                axes=_POSITIONS,
                inputs=("x",),
                parameters=("key",),
                only_eval=True,
                when="pairwise == 'embedded_gaussian' and not sub_sample",
            ),
            Law(
                "equal_values_hide_the_weights",
                parameters=("value.weight", "value.bias", "query", "key"),
                only_eval=True,
                when="pairwise == 'embedded_gaussian' and bias",
            ),
            Law(
                "ignores_key_bias",
                parameters=("key.bias",),
                when="pairwise == 'embedded_gaussian' and bias",
            ),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law(
                "linear_in_values",
                parameters=("value",),
                only_eval=True,
                when="not sub_sample or pool_first",
            ),
        ),
        broken_laws=(
            BrokenLaw(
                Law("samples_do_not_mix", axes=("batch",), when="norm"),
                "in training, batch norm divides by the spread of the whole batch",
            ),
            BrokenLaw(
                Law("follows_pixel_order", axes=_POSITIONS, when="sub_sample"),
                "which positions share a pair depends on where they stand",
            ),
            BrokenLaw(
                Law("follows_tiling", axes=_POSITIONS, when="sub_sample"),
                "an odd row that belonged to no pair joins the copy that follows it",
            ),
            BrokenLaw(
                Law("ignores_key_bias", parameters=("key.bias",), when="pairwise == 'dot_product'"),
                "without a softmax, a shift of the logits reaches the output",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "initial_values", "layout"),
        variants=(
            Variant(
                "scaled",
                "logits are multiplied by reduced^-½",
                {"scaled": True},
                "facebookresearch/video-nonlocal-net",
            ),
            Variant(
                "pool_first",
                "maxima are taken before the projections",
                {"sub_sample": True, "pool_first": True},
                "facebookresearch/video-nonlocal-net",
            ),
            Variant(
                "dot_product",
                "no softmax: logits are divided by the number of keys",
                {"pairwise": "dot_product"},
                "the paper, equation 4",
            ),
        ),
    ),
)
