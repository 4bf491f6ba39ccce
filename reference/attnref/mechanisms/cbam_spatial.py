"""The spatial gate of CBAM: a convolution judges the mean and the maximum of every pixel."""

from collections.abc import Callable

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant
from attnref.mechanisms._pixels import require_pixels


@checked
def cbam_spatial(
    x: Float[Tensor, "batch channels height width"],
    weight: Float[Tensor, "1 2 kernel kernel"],
    bias: Float[Tensor, " 1"] | None = None,
    *,
    maximum_first: bool = False,
    norm: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Scale each pixel by a gate computed from the means and maxima around it.

    out = x · sigmoid(conv([mean(x); max(x)])), with mean and maximum taken over channels. The
    maps are padded with zeros. `maximum_first` reads the weight's inputs as [max(x); mean(x)];
    `norm` is applied to what the sigmoid takes.

    Where a maximum is reached several times, its gradient is shared evenly.

    Differs from: the authors' code, which stacks the maximum first and normalises the logits.

    Source: Woo et al. 2018, equation 3, arXiv:1807.06521.
    Raises: ShapeError if axes do not agree or the map has no pixel; ValueError if the kernel is even.
    """
    kernel = weight.shape[-1]
    require_odd("cbam_spatial", kernel=kernel)
    require_pixels("cbam_spatial", x)
    mean = reduce(x, "batch channels height width -> batch height width", "mean")
    maximum = reduce(x, "batch channels height width -> batch height width", "max")
    pair = [maximum, mean] if maximum_first else [mean, maximum]
    maps = rearrange(pair, "pair batch height width -> batch pair height width")
    logits = conv2d(maps, weight, bias, padding=kernel // 2)
    return x * torch.sigmoid(logits if norm is None else norm(logits))


def require_odd(mechanism: str, **sizes: int) -> None:
    """Raise ValueError unless every size is odd, as a kernel that keeps the map's size must be."""
    for name, size in sizes.items():
        if size < 1 or size % 2 == 0:
            raise ValueError(f"{mechanism}: {name} must be odd and positive, got {name}={size}")


class CbamSpatial(nn.Module):
    """`cbam_spatial` with the convolution as a parameter; it serves any number of channels."""

    def __init__(
        self, kernel: int = 7, *, bias: bool = False, maximum_first: bool = False, norm: bool = False
    ) -> None:
        super().__init__()
        require_odd("cbam_spatial", kernel=kernel)
        self.kernel, self.maximum_first = kernel, maximum_first
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(1) if norm else None

    @checked
    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Scale the pixels of x."""
        return cbam_spatial(
            x, self.conv.weight, self.conv.bias, maximum_first=self.maximum_first, norm=self.norm
        )


MECHANISM = Mechanism(
    id="cbam_spatial",
    title="CBAM spatial gate",
    formula=r"x \cdot \sigma\!\left(\mathrm{conv}\,[\mathrm{mean}_c\, x;\ \mathrm{max}_c\, x]\right)",
    call=cbam_spatial,
    module=CbamSpatial,
    cite=(
        Citation(
            "CBAM: Convolutional Block Attention Module", "https://arxiv.org/abs/1807.06521", "equation 3"
        ),
    ),
    differs_from="The authors' code stacks the maximum first, and normalises the logits.",
    contract=Contract(
        rules=(
            Rule("kernel >= 1 and kernel % 2 == 1", "an even kernel moves or grows the map"),
            Rule("height >= 1 and width >= 1", "a map has at least one pixel"),
        ),
        options=(
            Option("bias", (False, True), "whether the convolution has a bias"),
            Option("maximum_first", (False, True), "whether the maximum is the first of the two maps"),
            Option("norm", (False, True), "batch norm between the convolution and the sigmoid"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",), when="not norm"),
            Law("samples_do_not_mix", axes=("batch",), only_eval=True, when="norm"),
            Law("follows_channel_order", axes=("channels",)),
            Law("ignores_repeated_channels", axes=("channels",)),
            Law("follows_pixel_order", axes=("height", "width"), when="kernel == 1"),
            Law("far_pixel_has_no_influence", axes=("height", "width", "kernel"), inputs=("x",)),
            Law("ignores_zero_border", axes=("height", "width"), inputs=("x",)),
            Law("follows_transposed_image_and_weight", axes=("height", "width"), parameters=("conv",)),
            Law("gate_is_between_zero_and_one", inputs=("x",)),
            Law("gate_is_constant_over_channels", axes=("channels",), inputs=("x",)),
            Law(
                "gate_depends_on_the_maximum",
                axes=("channels",),
                inputs=("x",),
                parameters=("conv",),
                when="channels >= 2",
            ),
            Law("gate_depends_on_the_input", inputs=("x",), parameters=("conv",)),
            Law("keeps_sign", inputs=("x",)),
            Law("survives_large_logits", parameters=("conv",)),
            Law("survives_large_logits", inputs=("x",)),
            Law("zero_input_gives_zero", inputs=("x",)),
        ),
        broken_laws=(
            BrokenLaw(
                Law("samples_do_not_mix", axes=("batch",), when="norm"),
                "in training, batch norm divides by the spread of the whole batch",
            ),
            BrokenLaw(
                Law("follows_pixel_order", axes=("height", "width"), when="kernel > 1"),
                "a convolution knows which pixels are neighbours",
            ),
            BrokenLaw(
                Law("follows_transposed_image", axes=("height", "width"), when="kernel > 1"),
                "the kernel is not symmetric",
            ),
            BrokenLaw(
                Law("follows_tiling", axes=("height", "width"), when="kernel > 1"),
                "the padding at the border is zero, not the tile beyond it",
            ),
            BrokenLaw(
                Law("gate_is_constant_over_space", axes=("height", "width"), inputs=("x",)),
                "every pixel has a gate of its own",
            ),
        ),
        conventions=("empty_axes", "layout"),
        variants=(
            Variant(
                "normalised_gate",
                "the convolution's result is batch-normalised before the sigmoid",
                {"norm": True},
                "the authors' code (Jongchan/attention-module)",
            ),
            Variant(
                "maximum_first",
                "the convolution reads [max; mean]",
                {"maximum_first": True},
                "the authors' code (Jongchan/attention-module)",
            ),
        ),
    ),
)
