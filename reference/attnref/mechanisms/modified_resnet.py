"""The modified ResNet: a deeper stem, anti-aliased strides, and attention pooling for a head."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from attnref._checked import checked
from attnref._mechanism import BrokenLaw, Citation, Contract, Law, Mechanism, Option, Rule
from attnref.mechanisms._residual_blocks import BasicBlock, BottleneckBlock, convolved
from attnref.mechanisms.attention_pool import AttentionPool

Block = Literal["bottleneck", "basic"]
BLOCKS: dict[str, type[BasicBlock] | type[BottleneckBlock]] = {
    "bottleneck": BottleneckBlock,
    "basic": BasicBlock,
}


@checked
def modified_resnet(
    x: Float[Tensor, "batch channels height width"],
    stem: Callable[[Tensor], Tensor],
    stages: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor],
) -> Float[Tensor, "batch classes"]:
    """Answer for an image: `stem`, an average pool by two, `stages`, `head`.

    `ModifiedResnet` says what the three are. Four stages shrink the map by 8, and the head to one answer.

    Differs from: the ResNet of torchvision, whose stem is one strided convolution and a max
    pool, whose stages have strided convolutions, and whose head is a global average pool.

    Source: Radford et al. 2021, section 2.4, and the authors' code (openai/CLIP,
    clip/model.py, ModifiedResNet), arXiv:2103.00020.
    """
    return head(stages(avg_pool2d(stem(x), 2)))


class ModifiedResnet(nn.Module):
    """`modified_resnet` for images of one height and width.

    `hidden` is the width of the stem and of the first stage; each of the further `stages` doubles it
    and halves the map. `layers` counts the blocks of the stages: (3, 4, 6, 3) bottlenecks make a
    ResNet-50, and the default is a small network that has every kind of block, those that repeat
    included. The map that reaches the head has (height + 1) // 2 ** (stages + 1) rows: for four
    stages an image has at least 31. In training, batch norm needs more than one pixel of that map
    in the whole batch.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        heads: int,
        classes: int,
        *,
        height: int,
        width: int,
        stages: int = 4,
        layers: tuple[int, ...] | None = None,
        block: Block = "bottleneck",
    ) -> None:
        super().__init__()
        self.channels, self.hidden, self.heads, self.classes = channels, hidden, heads, classes
        self.height, self.width = height, width
        self.layers, self.block = (2, 3, *[1] * stages)[:stages] if layers is None else layers, block
        self._require_sensible(stages)
        self.stem = stem(channels, hidden)
        self.stages = nn.Sequential()
        features = hidden
        for stage, count in enumerate(self.layers):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                self.stages.append(BLOCKS[block](features, hidden * 2**stage, stride=stride))
                features = hidden * 2**stage * BLOCKS[block].expansion
        shrinks = 2 ** (stages + 1)
        self.head = AttentionPool(
            features, heads, height=(height + 1) // shrinks, width=(width + 1) // shrinks, classes=classes
        )

    def _require_sensible(self, stages: int) -> None:
        if min(self.channels, self.classes) < 1 or self.hidden < 2:
            raise ValueError(
                f"modified_resnet: channels and classes must be at least 1 and hidden at least 2, got "
                f"channels={self.channels}, classes={self.classes}, hidden={self.hidden}"
            )
        if stages < 1 or len(self.layers) != stages or min(self.layers) < 1:
            raise ValueError(
                f"modified_resnet: layers must be a count of at least 1 for each of stages={stages}, "
                f"got layers={self.layers}"
            )
        least = 2 ** (stages + 1) - 1
        if min(self.height, self.width) < least:
            raise ValueError(
                f"modified_resnet: height and width must be at least {least}, or no pixel reaches the head, "
                f"got height={self.height}, width={self.width}"
            )

        features = self.hidden * 2 ** (stages - 1) * BLOCKS[self.block].expansion
        if self.heads < 1 or features % self.heads:
            raise ValueError(
                f"modified_resnet: heads must divide the {features} channels of the last stage, got "
                f"heads={self.heads}, hidden={self.hidden}, block={self.block!r}"
            )

    @checked
    def forward(
        self, x: Float[Tensor, "batch {self.channels} {self.height} {self.width}"]
    ) -> Float[Tensor, "batch {self.classes}"]:
        """Answer for every image of x."""
        return modified_resnet(x, self.stem, self.stages, self.head)


def stem(channels: int, hidden: int) -> nn.Sequential:
    """Three 3×3 convolutions, the first with stride 2, each with norm and rectifier."""
    return nn.Sequential(
        *convolved(channels, hidden // 2, kernel=3, stride=2),
        nn.ReLU(),
        *convolved(hidden // 2, hidden // 2, kernel=3),
        nn.ReLU(),
        *convolved(hidden // 2, hidden, kernel=3),
        nn.ReLU(),
    )


MECHANISM = Mechanism(
    id="modified_resnet",
    title="Modified ResNet",
    formula=r"\mathrm{attention\_pool}(\mathrm{stages}(\mathrm{mean}_{2\times 2}(\mathrm{stem}(x))))",
    call=modified_resnet,
    module=ModifiedResnet,
    cite=(
        Citation(
            "Learning Transferable Visual Models From Natural Language Supervision",
            "https://arxiv.org/abs/2103.00020",
            "section 2.4",
        ),
        Citation("openai/CLIP", "https://github.com/openai/CLIP", "clip/model.py, ModifiedResNet"),
    ),
    differs_from="torchvision's ResNet strides in convolutions and pools globally by the mean.",
    contract=Contract(
        rules=(
            Rule("channels >= 1 and classes >= 1", "there is something to see and to say"),
            Rule("hidden >= 2", "the first convolutions of the stem have hidden // 2 channels"),
            Rule(
                "height >= 2 ** (stages + 1) - 1 and width >= 2 ** (stages + 1) - 1",
                "at least one pixel reaches the head",
            ),
            Rule(
                "heads >= 1 and hidden * 2 ** (stages - 1) * (4 if block == 'bottleneck' else 1) % heads == 0",
                "heads share the channels of the last stage evenly",
            ),
        ),
        options=(
            Option("block", ("bottleneck", "basic"), "the residual block of the stages"),
            Option("stages", (4, 3, 2), "how many stages there are; each but the first halves the map"),
        ),
        laws=(
            Law("samples_do_not_mix", axes=("batch",), only_eval=True),
            Law("ignores_key_bias", parameters=("head.key.bias",)),
            Law("ignores_opposite_rescaling", parameters=("head.query", "head.key")),
            Law("linear_in_values", parameters=("head.value",)),
            Law("survives_large_logits", parameters=("head.query", "head.key")),
            Law(
                "equal_values_hide_the_weights",
                parameters=("head.value.weight", "head.value.bias", "head.query", "head.key"),
            ),
            Law(
                "zero_norm_hides_the_main_path",
                parameters=("stages.0.norm.weight", "stages.0.main"),
            ),
        ),
        broken_laws=(
            BrokenLaw(
                Law("samples_do_not_mix", axes=("batch",)),
                "in training, batch norm divides by the spread of the whole batch",
            ),
            BrokenLaw(
                Law("ignores_pixel_order", axes=("height", "width")),
                "convolutions see neighbourhoods, and the head has positions",
            ),
        ),
        conventions=("empty_axes", "softmax_precision", "initial_values", "layout"),
    ),
)
