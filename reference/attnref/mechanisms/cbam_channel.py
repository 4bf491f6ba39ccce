"""The channel gate of CBAM: one perceptron judges the mean and the maximum of every channel."""

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule
from attnref.mechanisms._pixels import require_pixels
from attnref.mechanisms.squeeze_excitation import squeezed_channels


@checked
def cbam_channel(
    x: Float[Tensor, "batch channels height width"],
    squeeze_weight: Float[Tensor, "reduced channels"],
    excite_weight: Float[Tensor, "channels reduced"],
    squeeze_bias: Float[Tensor, " reduced"] | None = None,
    excite_bias: Float[Tensor, " channels"] | None = None,
) -> Float[Tensor, "batch channels height width"]:
    """Scale each channel by a gate computed from the means and maxima of all channels.

    out = x · sigmoid(P(mean(x)) + P(max(x))), with P(z) = W_e relu(W_s z), and mean and maximum
    taken over height and width.

    Where a maximum is reached several times, its gradient is shared evenly.

    Differs from: the authors' code, whose layers have biases, so that the second one counts twice.

    Source: Woo et al. 2018, equation 2, arXiv:1807.06521.
    Raises: ShapeError if axes do not agree or the map has no pixel.
    """
    require_pixels("cbam_channel", x)
    mean = reduce(x, "batch channels height width -> batch channels", "mean")
    maximum = reduce(x, "batch channels height width -> batch channels", "max")
    # Both go through the same perceptron; they are added after it, not before the rectifier.
    pooled = torch.stack([mean, maximum])
    logits = linear(relu(linear(pooled, squeeze_weight, squeeze_bias)), excite_weight, excite_bias).sum(dim=0)
    return x * torch.sigmoid(logits)[:, :, None, None]


class CbamChannel(nn.Module):
    """`cbam_channel` with the two layers of the shared perceptron as parameters."""

    def __init__(self, channels: int, reduction: int = 16, *, bias: bool = False) -> None:
        super().__init__()
        self.channels, self.reduction = channels, reduction
        self.reduced = squeezed_channels("cbam_channel", channels=channels, reduction=reduction)
        self.squeeze = nn.Linear(channels, self.reduced, bias=bias)
        self.excite = nn.Linear(self.reduced, channels, bias=bias)

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"]
    ) -> Float[Tensor, "batch {self.channels} height width"]:
        """Scale the channels of x."""
        return cbam_channel(x, self.squeeze.weight, self.excite.weight, self.squeeze.bias, self.excite.bias)


MECHANISM = Mechanism(
    id="cbam_channel",
    title="CBAM channel gate",
    formula=r"x \cdot \sigma\!\left(P(\mathrm{mean}_{hw}\, x) + P(\mathrm{max}_{hw}\, x)\right),"
    r"\quad P(z) = W_e\, \mathrm{relu}(W_s z)",
    call=cbam_channel,
    module=CbamChannel,
    cite=(
        Citation(
            "CBAM: Convolutional Block Attention Module", "https://arxiv.org/abs/1807.06521", "equation 2"
        ),
    ),
    differs_from="The authors' code has biases in both layers; the paper's equation has none.",
    contract=Contract(
        rules=(
            Rule("height >= 1 and width >= 1", "a map has at least one pixel"),
            Rule("reduction >= 1", "a squeeze cannot enlarge"),
            Rule("channels // reduction >= 1", "a gate without hidden units is 1/2 for every input"),
        ),
        options=(Option("bias", (False, True), "whether the layers of the perceptron have a bias"),),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("follows_pixel_order", axes=("height", "width")),
            Law("follows_transposed_image", axes=("height", "width")),
            Law("follows_tiling", axes=("height", "width")),
            Law("gate_is_between_zero_and_one", inputs=("x",)),
            Law("gate_is_constant_over_space", axes=("height", "width"), inputs=("x",)),
            Law("gate_sees_only_mean_and_maximum", axes=("height", "width"), inputs=("x",)),
            Law(
                "gate_depends_on_the_maximum",
                axes=("height", "width"),
                inputs=("x",),
                parameters=("squeeze", "excite"),
                when="height * width >= 2",
            ),
            Law("gate_depends_on_the_input", inputs=("x",), parameters=("squeeze", "excite")),
            Law("keeps_sign", inputs=("x",)),
            Law("survives_large_logits", parameters=("excite",)),
            Law("survives_large_logits", inputs=("x",)),
            Law("zero_input_gives_zero", inputs=("x",)),
            Law("ignores_opposite_rescaling", parameters=("squeeze", "excite.weight")),
        ),
        broken_laws=(
            BrokenLaw(
                Law("gate_sees_only_the_mean", axes=("height", "width"), inputs=("x",)),
                "the gate sees the maximum as well",
            ),
            BrokenLaw(
                Law("follows_channel_order", axes=("channels",)),
                "the layers of the gate have weights of their own for every channel",
            ),
            BrokenLaw(
                Law("pixels_do_not_mix", axes=("height", "width")),
                "every pixel moves the mean that all pixels are scaled by",
            ),
            BrokenLaw(
                Law("scales_with_the_input", inputs=("x",)),
                "the gate depends on the input that it scales",
            ),
        ),
        conventions=("empty_axes", "no_reduced_channels", "layout"),
    ),
)
