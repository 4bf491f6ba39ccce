"""Attention pooling of a feature map: the mean of all pixels asks, all pixels and the mean answer."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Rule
from attnref.mechanisms.scaled_dot_product import scaled_dot_product


@checked
def attention_pool(
    x: Float[Tensor, "batch channels height width"],
    position: Float[Tensor, "height*width+1 channels"],
    query_weight: Float[Tensor, "channels channels"],
    key_weight: Float[Tensor, "channels channels"],
    value_weight: Float[Tensor, "channels channels"],
    output_weight: Float[Tensor, "classes channels"],
    query_bias: Float[Tensor, " channels"] | None = None,
    key_bias: Float[Tensor, " channels"] | None = None,
    value_bias: Float[Tensor, " channels"] | None = None,
    output_bias: Float[Tensor, " classes"] | None = None,
    *,
    heads: int,
    need_weights: bool = False,
) -> (
    Float[Tensor, "batch classes"]
    | tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch {heads} height*width+1"]]
):
    """Pool the map into one answer per sample with `heads` heads of attention.

    Tokens are the mean of the pixels, then the pixels row by row; `position` is added to all of
    them, after the mean was taken. The first token is the only query. All tokens are keys.

    Differs from: pooling with a learned class token, whose query does not depend on the map.

    Source: Radford et al. 2021, section 2.4, and the authors' code (openai/CLIP,
    clip/model.py, AttentionPool2d), arXiv:2103.00020.
    Raises: ShapeError if axes do not agree; ValueError if heads do not divide channels.
    """
    require_divisible(channels=x.shape[1], heads=heads)
    pixels = rearrange(x, "batch channels height width -> batch (height width) channels")
    tokens = torch.cat([pixels.mean(dim=1, keepdim=True), pixels], dim=1) + position
    split = "batch length (heads head_dim) -> batch heads length head_dim"
    out, weights = scaled_dot_product(
        rearrange(linear(tokens[:, :1], query_weight, query_bias), split, heads=heads),
        rearrange(linear(tokens, key_weight, key_bias), split, heads=heads),
        rearrange(linear(tokens, value_weight, value_bias), split, heads=heads),
        need_weights=True,
    )
    answer = linear(rearrange(out, "b h 1 d -> b (h d)"), output_weight, output_bias)
    return (answer, weights[:, :, 0]) if need_weights else answer


def require_divisible(*, channels: int, heads: int) -> None:
    """Raise ValueError unless `heads` divides `channels`."""
    if heads < 1 or channels % heads:
        raise ValueError(
            f"attention_pool: channels must be a multiple of heads, got channels={channels}, heads={heads}"
        )


class AttentionPool(nn.Module):
    """`attention_pool` for maps of one height and width, with positions and projections.

    `classes` is the number of channels unless given.
    """

    def __init__(
        self, channels: int, heads: int, *, height: int, width: int, classes: int | None = None
    ) -> None:
        super().__init__()
        self.channels, self.heads = channels, heads
        self.height, self.width = height, width
        self.classes = channels if classes is None else classes
        if min(channels, height, width, self.classes) < 1:
            raise ValueError(
                f"attention_pool: channels, height, width and classes must be at least 1, got "
                f"channels={channels}, height={height}, width={width}, classes={self.classes}"
            )
        require_divisible(channels=channels, heads=heads)
        self.position = nn.Parameter(torch.randn(height * width + 1, channels) * channels**-0.5)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, self.classes)

    @checked
    def forward(
        self,
        x: Float[Tensor, "batch {self.channels} {self.height} {self.width}"],
        *,
        need_weights: bool = False,
    ) -> (
        Float[Tensor, "batch {self.classes}"]
        | tuple[
            Float[Tensor, "batch {self.classes}"],
            Float[Tensor, "batch {self.heads} {self.height}*{self.width}+1"],
        ]
    ):
        """Pool x into one answer per sample."""
        return attention_pool(
            x, self.position,
            self.query.weight, self.key.weight, self.value.weight, self.output.weight,
            self.query.bias, self.key.bias, self.value.bias, self.output.bias,
            heads=self.heads, need_weights=need_weights,
        )  # fmt: skip


_PIXELS = ("height", "width")

MECHANISM = Mechanism(
    id="attention_pool",
    title="Attention pooling",
    formula=r"\mathrm{attend}(t_0, t, t)_0\, W_o^\top,\quad t = [\mathrm{mean}(x);\, x] + \mathrm{position}",
    call=attention_pool,
    module=AttentionPool,
    outputs=("out", "weights"),
    cite=(
        Citation(
            "Learning Transferable Visual Models From Natural Language Supervision",
            "https://arxiv.org/abs/2103.00020",
            "section 2.4",
        ),
        Citation("openai/CLIP", "https://github.com/openai/CLIP", "clip/model.py, AttentionPool2d"),
    ),
    differs_from="Pooling with a class token asks the same question of every map.",
    contract=Contract(
        rules=(
            Rule("heads >= 1 and channels % heads == 0", "heads share the channels evenly"),
            Rule("height >= 1 and width >= 1", "a mean needs a pixel"),
            Rule("classes >= 1", "the answer has an entry"),
        ),
        defaults={"classes": "channels"},
        laws=(
            Law("samples_do_not_mix", axes=("batch",)),
            Law(
                "zero_position_ignores_pixel_order",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("position",),
            ),
            Law(
                "ignores_pixel_order_with_positions",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("position",),
            ),
            Law(
                "constant_image_gives_uniform_weights",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("query", "key", "position"),
            ),
            Law("zero_key_gives_the_mean", axes=_PIXELS, inputs=("x",), parameters=("key",)),
            Law(
                "zero_key_and_position_pool_the_mean",
                axes=_PIXELS,
                inputs=("x",),
                parameters=("key", "position", "value", "output"),
            ),
            Law("equal_values_hide_the_weights", parameters=("value.weight", "value.bias", "query", "key")),
            Law("ignores_key_bias", parameters=("key.bias",)),
            Law("ignores_opposite_rescaling", parameters=("query", "key")),
            Law("survives_large_logits", parameters=("query", "key")),
            Law("linear_in_values", parameters=("value",)),
        ),
        broken_laws=(
            BrokenLaw(
                Law("ignores_pixel_order", axes=_PIXELS),
                "every place of the map has a position of its own",
            ),
            BrokenLaw(
                Law("linear_in_inputs", inputs=("x",)),
                "the map decides how its pixels are weighted",
            ),
        ),
        conventions=("empty_axes", "weights_returned", "softmax_precision", "layout"),
    ),
)
