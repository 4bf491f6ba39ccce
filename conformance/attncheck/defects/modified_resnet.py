"""Known mistakes of the modified ResNet."""

from typing import Any

from torch import Tensor
from torch.nn import AvgPool2d, Identity
from torch.nn.functional import avg_pool2d, max_pool2d

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.modified_resnet import ModifiedResnet


class PlainModifiedResnet(ModifiedResnet):
    """Stem, pool, stages and head, one step a method."""

    def forward(self, x: Tensor) -> Any:
        return self.headed(self.staged(self.pooled(self.stemmed(x))))

    def stemmed(self, x: Tensor) -> Tensor:
        return self.stem(x)  # type: ignore[no-any-return]  # a module returns a tensor here

    def pooled(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, 2)

    def staged(self, x: Tensor) -> Tensor:
        block: Any
        for block in self.stages:
            x = self.summed(block.norm(block.main(x)), block.skip(x))
        return x

    def summed(self, main: Tensor, skip: Tensor) -> Tensor:
        return (main + skip).relu()

    def headed(self, x: Tensor) -> Tensor:
        return self.head(x)  # type: ignore[no-any-return]  # a module returns a tensor here


def _strided(self: Any, x: Tensor) -> Tensor:
    block: Any
    for block in self.stages:
        main = x
        for layer in block.main:
            main = _thinned(main, block.stride) if isinstance(layer, AvgPool2d) else layer(main)
        x = (block.norm(main) + block.skip(x)).relu()
    return x


def _thinned(x: Tensor, stride: int) -> Tensor:
    """The first pixel of every square that is full."""
    height, width = (size // stride * stride for size in x.shape[-2:])
    return x[..., :height:stride, :width:stride]


def _only_projected_skips(self: Any, x: Tensor) -> Tensor:
    block: Any
    for block in self.stages:
        main = block.norm(block.main(x))
        x = (main if isinstance(block.skip, Identity) else main + block.skip(x)).relu()
    return x


def _repeated(self: Any, x: Tensor) -> Tensor:
    """Every block that keeps its size is the first one of its width."""
    first: dict[int, Any] = {}
    block: Any
    for block in self.stages:
        if isinstance(block.skip, Identity):
            block = first.setdefault(x.shape[1], block)
        x = self.summed(block.norm(block.main(x)), block.skip(x))
    return x


def _unrectified(self: Any, x: Tensor) -> Tensor:
    for layer in list(self.stem)[:-1]:
        x = layer(x)
    return x


def _batch_as_sequence(self: Any, x: Tensor) -> Tensor:
    # Every sample asks, and all samples answer.
    return self.head(x + x.mean(0, keepdim=True) * 0.5)  # type: ignore[no-any-return]  # a tensor


DEFECTS: tuple[Defect, ...] = made_in("modified_resnet", (
    Mistake("maximum_after_the_stem", "A maximum pool follows the stem; it is an average pool.",
        ("errata RN-2",), "always", "value", {"pooled": lambda self, x: max_pool2d(x, 2)}),
    Mistake("pool_takes_every_second_pixel", "Every second pixel is kept; average each square.",
        ("errata RN-3",), "always", "value",
        {"pooled": lambda self, x: x[..., : x.shape[-2] // 2 * 2 : 2, : x.shape[-1] // 2 * 2 : 2]}),
    Mistake("strides_not_anti_aliased", "The main path keeps every second pixel; it is to average before it strides.",
        ("errata RN-3",), "always", "value", {"staged": _strided}),
    Mistake("last_rectifier_of_the_stem_missing", "No relu follows the last convolution of the stem.",
        ("errata RN-1",), "always", "value", {"stemmed": _unrectified}),
    Mistake("rectifier_after_the_sum_missing", "No relu follows the sum of main path and skip.",
        ("errata RN-7",), "always", "value", {"summed": lambda self, main, skip: main + skip}),
    Mistake("rectified_before_the_sum", "The relu stands before the sum; it stands after.",
        ("errata RN-7",), "always", "value", {"summed": lambda self, main, skip: main.relu() + skip}),
    Mistake("skip_missing", "The skip of the blocks is forgotten.",
        ("errata RN-7",), "always", "law", {"summed": lambda self, main, skip: (main + 0 * skip).relu()}),
    Mistake("only_projected_skips_added", "Blocks that keep their size have no skip; add the input itself.",
        ("errata RN-7",), "always", "value", {"staged": _only_projected_skips}),
    Mistake("repeated_blocks_are_one", "The further blocks of a stage are one and the same; each has weights of its own.",
        ("errata RN-7",), "always", "value", {"staged": _repeated}),
    Mistake("residual_broadcast", "Where the main path is larger than the skip, the skip is one pixel spread out.",
        ("errata RN-7",), "always", "value",
        {"summed": lambda self, main, skip: (main + skip.mean((-2, -1), keepdim=True)).relu()}),
    Mistake("samples_attend_to_each_other", "The head reads the batch as its sequence, so samples mix.",
        ("errata RN-5",), "batch > 1", "law", {"headed": _batch_as_sequence}),
    Mistake("head_pools_the_mean_first", "The map is averaged before the head, which then has nothing to choose from.",
        ("errata RN-4",), "max(height, width) >= 2 ** (stages + 2) - 1", "value",
        {"headed": lambda self, x: self.head(x.mean((-2, -1), keepdim=True).expand(x.shape))}),
))  # fmt: skip
