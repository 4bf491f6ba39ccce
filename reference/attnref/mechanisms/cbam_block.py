"""A residual block with CBAM: a convolution whose features pass both gates before the skip is added."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant
from attnref.mechanisms._pixels import require_pixels
from attnref.mechanisms.cbam_channel import CbamChannel, cbam_channel
from attnref.mechanisms.cbam_spatial import CbamSpatial, cbam_spatial, require_odd


@checked
def cbam_block(
    features: Float[Tensor, "batch out_channels height width"],
    skip: Float[Tensor, "batch out_channels height width"],
    squeeze_weight: Float[Tensor, "reduced out_channels"],
    excite_weight: Float[Tensor, "out_channels reduced"],
    gate_weight: Float[Tensor, "1 2 gate_kernel gate_kernel"],
    squeeze_bias: Float[Tensor, " reduced"] | None = None,
    excite_bias: Float[Tensor, " out_channels"] | None = None,
    gate_bias: Float[Tensor, " 1"] | None = None,
    *,
    maximum_first: bool = False,
    gate_norm: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "batch out_channels height width"]:
    """Pass features through the channel gate, then the spatial gate, and add the skip.

    out = relu(S(C(features)) + skip), with C = cbam_channel and S = cbam_spatial, which
    `maximum_first` and `gate_norm` are handed to.

    Differs from: a CBAM module on its own, which has no residual inside.

    Source: Woo et al. 2018, equation 1 and figure 3, arXiv:1807.06521.
    Raises: ShapeError if axes do not agree; ValueError if the kernel is even.
    """
    refined = cbam_channel(features, squeeze_weight, excite_weight, squeeze_bias, excite_bias)
    gated = cbam_spatial(refined, gate_weight, gate_bias, maximum_first=maximum_first, norm=gate_norm)
    return relu(gated + skip)


class CbamBlock(nn.Module):
    """Convolution, batch norm and relu, then `cbam_block` with a skip from the input.

    The skip is the input itself where shapes agree, else a 1×1 convolution with the stride. With
    `skip="pooled"` it is always a 3×3 maximum pool with the stride, then a 1×1 convolution.
    `gate_kernel` is the side of the spatial gate's kernel, `kernel` unless given. `gate_bias`
    gives every layer of both gates a bias; `maximum_first` and `gate_norm` are options of the
    spatial gate.

    While training, batch norm needs more than one value of each channel.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        reduction: int = 16,
        gate_kernel: int | None = None,
        skip: Literal["projection", "pooled"] = "projection",
        bias: bool = False,
        gate_bias: bool = False,
        maximum_first: bool = False,
        gate_norm: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.out_channels = channels, out_channels
        self.kernel, self.stride, self.reduction = kernel, stride, reduction
        self.gate_kernel = kernel if gate_kernel is None else gate_kernel
        self._require_sensible()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels)
        self.channel = CbamChannel(out_channels, reduction, bias=gate_bias)
        self.spatial = CbamSpatial(
            self.gate_kernel, bias=gate_bias, maximum_first=maximum_first, norm=gate_norm
        )
        self.skip = _skip(channels, out_channels, stride=stride, pooled=skip == "pooled", bias=bias)

    def _require_sensible(self) -> None:
        require_odd("cbam_block", kernel=self.kernel, gate_kernel=self.gate_kernel)
        if self.stride < 1:
            raise ValueError(f"cbam_block: stride must be at least 1, got stride={self.stride}")
        if self.reduction < 1 or self.out_channels // self.reduction < 1:
            raise ValueError(
                "cbam_block: out_channels // reduction must be at least 1, "
                f"got out_channels={self.out_channels}, reduction={self.reduction}"
            )

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"]
    ) -> Float[Tensor, "batch {self.out_channels} (height-1)//{self.stride}+1 (width-1)//{self.stride}+1"]:
        """Convolve x, gate the result and add the skip."""
        require_pixels("cbam_block", x)
        return cbam_block(
            relu(self.norm(self.conv(x))),
            self.skip(x),
            self.channel.squeeze.weight,
            self.channel.excite.weight,
            self.spatial.conv.weight,
            self.channel.squeeze.bias,
            self.channel.excite.bias,
            self.spatial.conv.bias,
            maximum_first=self.spatial.maximum_first,
            gate_norm=self.spatial.norm,
        )


def _skip(channels: int, out_channels: int, *, stride: int, pooled: bool, bias: bool) -> nn.Module:
    """What leads from the input to the sum, around the gates."""
    if pooled:
        pool = nn.MaxPool2d(3, stride, padding=1)
        return nn.Sequential(OrderedDict(pool=pool, conv=nn.Conv2d(channels, out_channels, 1, bias=bias)))
    if channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, out_channels, 1, stride, bias=bias)))


_IDENTITY = "skip == 'projection' and channels == out_channels and stride == 1"

MECHANISM = Mechanism(
    id="cbam_block",
    title="Residual block with CBAM",
    formula=r"\mathrm{relu}\!\left("
    r"S(C(\mathrm{relu}(\mathrm{norm}(\mathrm{conv}\, x)))) + \mathrm{skip}(x)\right)",
    call=cbam_block,
    module=CbamBlock,
    cite=(
        Citation(
            "CBAM: Convolutional Block Attention Module",
            "https://arxiv.org/abs/1807.06521",
            "equation 1 and figure 3",
        ),
    ),
    differs_from="A CBAM module on its own has no residual inside.",
    contract=Contract(
        rules=(
            Rule("height >= 1 and width >= 1", "a map has at least one pixel"),
            Rule("kernel >= 1 and kernel % 2 == 1", "an even kernel moves or grows the map"),
            Rule("gate_kernel >= 1 and gate_kernel % 2 == 1", "an even kernel moves or grows the map"),
            Rule("stride >= 1", "a convolution moves on"),
            Rule("reduction >= 1", "a squeeze cannot enlarge"),
            Rule("out_channels // reduction >= 1", "a gate without hidden units is 1/2 for every input"),
        ),
        options=(
            Option("skip", ("projection", "pooled"), "how the input reaches the sum"),
            Option("bias", (False, True), "whether the convolutions of main path and skip have a bias"),
            Option("gate_bias", (False, True), "whether the layers of both gates have a bias"),
            Option("maximum_first", (False, True), "whether the maximum is the first of the two maps"),
            Option("gate_norm", (False, True), "batch norm in the spatial gate, before the sigmoid"),
        ),
        defaults={"gate_kernel": "kernel"},
        laws=(
            Law("samples_do_not_mix", axes=("batch",), only_eval=True),
            Law("follows_sample_order", axes=("batch",)),
            Law("ignores_repeated_batch", axes=("batch",)),
            Law("output_is_not_negative", inputs=("x",)),
            Law("not_below_the_rectified_input", inputs=("x",), when=_IDENTITY),
            Law("zero_norm_gives_the_rectified_input", inputs=("x",), parameters=("norm",), when=_IDENTITY),
            Law("survives_large_logits", parameters=("channel.excite",)),
            Law("survives_large_logits", parameters=("spatial.conv",)),
            Law("survives_large_logits", inputs=("x",)),
            Law("zero_norm_ignores_the_gates", parameters=("norm", "channel", "spatial")),
        ),
        broken_laws=(
            BrokenLaw(
                Law("samples_do_not_mix", axes=("batch",)),
                "while training, batch norm divides by the deviation of the whole batch",
            ),
            BrokenLaw(
                Law("follows_pixel_order", axes=("height", "width")),
                "convolutions know which pixels are neighbours",
            ),
            BrokenLaw(
                Law("zero_input_gives_zero", inputs=("x",)),
                "batch norm adds its bias, and in evaluation its running mean",
            ),
        ),
        conventions=("empty_axes", "no_reduced_channels", "layout"),
        variants=(
            Variant(
                "pooled_skip",
                "the skip is a 3×3 maximum pool with the stride, then a 1×1 convolution, always; biases",
                {"skip": "pooled", "bias": True},
                "the source article",
            ),
            Variant(
                "normalised_gate",
                "the spatial gate's convolution is batch-normalised before the sigmoid",
                {"gate_norm": True},
                "the authors' code (Jongchan/attention-module)",
            ),
            Variant(
                "maximum_first",
                "the spatial gate's convolution reads [max; mean]",
                {"maximum_first": True},
                "the authors' code (Jongchan/attention-module)",
            ),
        ),
    ),
)
