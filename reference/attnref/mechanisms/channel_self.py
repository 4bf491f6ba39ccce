"""Channel self-attention of an image: every channel averages all channels and adds the result."""

from typing import Literal

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule, Variant

Energy = Literal["product", "max_minus_product"]
Skip = Literal["identity", "convolution"]


@checked
def channel_self(
    q: Float[Tensor, "batch out_channels height width"],
    k: Float[Tensor, "batch out_channels height width"],
    v: Float[Tensor, "batch out_channels height width"],
    skip: Float[Tensor, "batch out_channels height width"],
    gamma: Float[Tensor, "1"],
    *,
    energy: Energy = "product",
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch out_channels height width"]
    | tuple[
        Float[Tensor, "batch out_channels height width"],
        Float[Tensor, "batch out_channels out_channels"],
    ]
):
    """Add to `skip`, times gamma, what every channel reads from all channels.

    The energy E of two channels is their product summed over all pixels, without a scale, so it
    grows with the map. In the paper q, k, v and skip are one and the same image. The energy
    `max_minus_product` is max(E) - E, where the maximum is that of a row: the least similar
    channel gets the largest weight.

    Differs from: the code of DANet, whose energy is `max_minus_product`.

    Source: Fu et al. 2019, section 3.3, equations 3 and 4, arXiv:1809.02983.
    Raises: ShapeError if axes do not agree.
    """
    logits = einsum(q, k, "b i h w, b j h w -> b i j")
    if energy == "max_minus_product":
        logits = logits.amax(dim=-1, keepdim=True) - logits
    weights = torch.softmax(logits, dim=-1)
    out = gamma * einsum(weights, v, "b i j, b j h w -> b i h w") + skip
    return (out, weights) if need_weights else out


class ChannelSelf(nn.Module):
    """`channel_self` of an image with itself; `gamma` is zero at birth.

    With `projected`, queries, keys and values are 1×1 convolutions of the image instead of the
    image itself. With `skip="convolution"`, what is added is a 1×1 convolution as well, which
    lets `out_channels` differ from `channels`; then gamma = 0 does not give the input back.
    """

    def __init__(
        self,
        channels: int,
        *,
        out_channels: int | None = None,
        energy: Energy = "product",
        projected: bool = False,
        skip: Skip = "identity",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.energy = channels, energy
        self.out_channels = channels if out_channels is None else out_channels
        if min(self.channels, self.out_channels) < 1:
            raise ValueError(
                f"channel_self: channels and out_channels must be at least 1, got "
                f"channels={channels}, out_channels={self.out_channels}"
            )
        if self.out_channels != channels and not (projected and skip == "convolution"):
            raise ValueError(
                f"channel_self: out_channels may differ from channels only if projected and with "
                f"skip='convolution', got channels={channels}, out_channels={self.out_channels}"
            )
        self.query = self._projection(projected, bias)
        self.key = self._projection(projected, bias)
        self.value = self._projection(projected, bias)
        self.skip = self._projection(skip == "convolution", bias)
        self.gamma = nn.Parameter(torch.zeros(1))

    def _projection(self, wanted: bool, bias: bool) -> nn.Module:
        return nn.Conv2d(self.channels, self.out_channels, 1, bias=bias) if wanted else nn.Identity()

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} height width"], *, need_weights: bool = False
    ) -> (
        Float[Tensor, "batch {self.out_channels} height width"]
        | tuple[
            Float[Tensor, "batch {self.out_channels} height width"],
            Float[Tensor, "batch {self.out_channels} {self.out_channels}"],
        ]
    ):
        """Let the channels of x look at each other."""
        return channel_self(
            self.query(x), self.key(x), self.value(x), self.skip(x), self.gamma,
            energy=self.energy, need_weights=need_weights,
        )  # fmt: skip


MECHANISM = Mechanism(
    id="channel_self",
    title="Channel self-attention",
    formula=r"\gamma\,\mathrm{softmax}(X X^\top) X + X,"
    r"\quad X \in \mathbb{R}^{\mathrm{channels}\times\mathrm{height}\,\mathrm{width}}",
    call=channel_self,
    module=ChannelSelf,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "Dual Attention Network for Scene Segmentation",
            "https://arxiv.org/abs/1809.02983",
            "section 3.3, equations 3 and 4",
        ),
    ),
    differs_from="DANet's code takes the softmax of max(E) - E, which reverses the ranking.",
    contract=Contract(
        rules=(
            Rule("channels >= 1 and out_channels >= 1", "there is a channel to look at"),
            Rule(
                "out_channels == channels or (projected and skip == 'convolution')",
                "what is added has the channels of what it is added to",
            ),
        ),
        defaults={"out_channels": "channels"},
        options=(
            Option("energy", ("product", "max_minus_product"), "what the softmax is taken of"),
            Option("projected", (False, True), "queries, keys and values are 1×1 convolutions of x"),
            Option("skip", ("identity", "convolution"), "what is added: x, or a 1×1 convolution of it"),
            Option("bias", (True, False), "whether the convolutions have a bias"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law("follows_pixel_order", axes=("height", "width")),
            Law("follows_transposed_image", axes=("height", "width")),
            Law("follows_channel_order", axes=("channels",), when="not projected and skip == 'identity'"),
            Law(
                "zero_gamma_gives_the_input",
                inputs=("x",),
                parameters=("gamma",),
                when="skip == 'identity'",
            ),
            Law("affine_in_gamma", parameters=("gamma",)),
            Law("survives_large_logits", inputs=("x", "x")),
            Law(
                "equal_channels_give_uniform_weights",
                axes=("channels",),
                inputs=("x",),
                parameters=("gamma",),
                when="not projected and skip == 'identity'",
            ),
            Law(
                "zero_key_adds_the_mean",
                axes=("out_channels",),
                parameters=("key", "gamma"),
                when="projected",
            ),
            Law("ignores_opposite_rescaling", parameters=("query", "key"), when="projected"),
            Law("linear_in_values", parameters=("value",), when="projected"),
            Law(
                "equal_values_hide_the_weights",
                axes=("out_channels",),
                parameters=("value.weight", "value.bias", "query", "key"),
                when="projected and bias",
            ),
        ),
        broken_laws=(
            BrokenLaw(
                Law("follows_tiling", axes=("height", "width")),
                "the energy is a sum over pixels without a scale: a larger map sharpens the softmax",
            ),
            BrokenLaw(
                Law("ignores_key_bias", parameters=("key.bias",), when="projected and bias"),
                "one number per key channel moves the energies of a row by different amounts",
            ),
            BrokenLaw(
                Law(
                    "zero_gamma_gives_the_input",
                    inputs=("x",),
                    parameters=("gamma",),
                    when="skip == 'convolution'",
                ),
                "what is left is a convolution of the input",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "initial_values", "layout"),
        variants=(
            Variant(
                "max_minus_product",
                "the softmax is taken of max(E) - E",
                {"energy": "max_minus_product"},
                "DANet's code (junfu1115/DANet)",
            ),
            Variant(
                "projected",
                "queries, keys and values are 1×1 convolutions of the image",
                {"projected": True},
                "modules that copy the form of spatial self-attention",
            ),
            Variant(
                "convolution_in_the_skip",
                "a 1×1 convolution of the image is added instead of the image",
                {"projected": True, "skip": "convolution"},
                "the source article",
            ),
        ),
    ),
)
