"""Squeeze-and-excitation: every channel is scaled by a gate that sees the mean of all channels."""

from typing import Literal

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, relu, silu

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant

Activation = Literal["relu", "silu"]


@checked
def squeeze_excitation(
    x: Float[Tensor, "batch channels height width"],
    squeeze_weight: Float[Tensor, "reduced channels"],
    excite_weight: Float[Tensor, "channels reduced"],
    squeeze_bias: Float[Tensor, " reduced"] | None = None,
    excite_bias: Float[Tensor, " channels"] | None = None,
    *,
    activation: Activation = "relu",
) -> Float[Tensor, "batch channels height width"]:
    """Scale each channel by a gate computed from the means of all channels.

    out = x · sigmoid(W_e relu(W_s mean(x))), the mean taken over height and width. `activation`
    "silu" bends the hidden units by silu instead of relu.

    Differs from: torchvision.ops.SqueezeExcitation, which takes the squeezed width instead of a
    reduction and has biases.

    Source: Hu et al. 2018, equations 2 to 4, arXiv:1709.01507.
    Raises: ShapeError if axes do not agree.
    """
    pooled = reduce(x, "batch channels height width -> batch channels", "mean")
    hidden = linear(pooled, squeeze_weight, squeeze_bias)
    bent = silu(hidden) if activation == "silu" else relu(hidden)
    logits = linear(bent, excite_weight, excite_bias)
    return x * torch.sigmoid(logits)[:, :, None, None]


def squeezed_channels(mechanism: str, *, channels: int, reduction: int) -> int:
    """Feature maps that a squeeze by `reduction` leaves.

    Raises ValueError if none is left: a gate without hidden units would be 1/2 for every input,
    in silence.
    """
    if reduction < 1 or channels // reduction < 1:
        raise ValueError(
            f"{mechanism}: channels // reduction must be at least 1, "
            f"got channels={channels}, reduction={reduction}"
        )
    return channels // reduction


class SqueezeExcitation(nn.Module):
    """`squeeze_excitation` with the two layers of the gate as parameters."""

    def __init__(
        self, channels: int, reduction: int = 16, *, bias: bool = False, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.channels, self.reduction, self.activation = channels, reduction, activation
        self.reduced = squeezed_channels("squeeze_excitation", channels=channels, reduction=reduction)
        self.squeeze = nn.Linear(channels, self.reduced, bias=bias)
        self.excite = nn.Linear(self.reduced, channels, bias=bias)

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"]
    ) -> Float[Tensor, "batch {self.channels} height width"]:
        """Scale the channels of x."""
        return squeeze_excitation(
            x, self.squeeze.weight, self.excite.weight, self.squeeze.bias, self.excite.bias,
            activation=self.activation,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="squeeze_excitation",
    title="Squeeze-and-excitation",
    formula=r"x \cdot \sigma\!\left(W_e\, \mathrm{relu}(W_s\, \mathrm{mean}_{hw}\, x)\right)",
    call=squeeze_excitation,
    module=SqueezeExcitation,
    cite=(
        Citation("Squeeze-and-Excitation Networks", "https://arxiv.org/abs/1709.01507", "equations 2 to 4"),
    ),
    differs_from="torchvision.ops.SqueezeExcitation takes the squeezed width, and has biases.",
    contract=Contract(
        rules=(
            Rule("reduction >= 1", "a squeeze cannot enlarge"),
            Rule("channels // reduction >= 1", "a gate without hidden units is 1/2 for every input"),
        ),
        options=(
            Option("bias", (False, True), "whether the layers of the gate have a bias"),
            Option("activation", ("relu", "silu"), "what bends the hidden units"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("follows_pixel_order", axes=("height", "width")),
            Law("follows_transposed_image", axes=("height", "width")),
            Law("follows_tiling", axes=("height", "width")),
            Law("gate_is_between_zero_and_one", inputs=("x",)),
            Law("gate_is_constant_over_space", axes=("height", "width"), inputs=("x",)),
            Law("gate_sees_only_the_mean", axes=("height", "width"), inputs=("x",)),
            Law("gate_depends_on_the_input", inputs=("x",), parameters=("squeeze", "excite")),
            Law("keeps_sign", inputs=("x",)),
            Law("survives_large_logits", parameters=("excite",)),
            Law("survives_large_logits", inputs=("x",)),
            Law("zero_input_gives_zero", inputs=("x",)),
            Law(
                "ignores_opposite_rescaling",
                parameters=("squeeze", "excite.weight"),
                when="activation == 'relu'",
            ),
        ),
        broken_laws=(
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
            BrokenLaw(
                Law(
                    "ignores_opposite_rescaling",
                    parameters=("squeeze", "excite.weight"),
                    when="activation == 'silu'",
                ),
                "silu of twice a number is not twice its silu",
            ),
        ),
        conventions=("empty_axes", "no_reduced_channels", "layout"),
        variants=(
            Variant(
                "silu_gate",
                "the hidden units are bent by silu",
                {"activation": "silu"},
                "blocks with inverted bottlenecks (MaxViT, EfficientNet)",
            ),
        ),
    ),
)
