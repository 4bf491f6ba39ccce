"""A network of stages has as many of them as its code says, be they fewer than the reference's."""

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from attncheck.targets.discover import discover
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.stages import EVENLY_SHRUNK
from attnref.catalogue import BY_ID
from attnref.mechanisms.modified_resnet import ModifiedResnet, modified_resnet


class Network(nn.Module):
    """So many stages as there are counts of blocks."""

    stages: int | None = None

    def __init__(
        self, blocks: Sequence[int], width: int, heads: int, classes: int, height: int, image_width: int
    ) -> None:
        super().__init__()
        if self.stages not in (None, len(blocks)):
            raise ValueError(f"one count of blocks for each of {self.stages} stages, please")
        self.body = ModifiedResnet(
            3,
            width,
            heads,
            classes,
            height=height,
            width=image_width,
            stages=len(blocks),
            layers=tuple(blocks),
        )

    def forward(self, images: Tensor) -> Tensor:
        # Images of which the stages leave the same map are taken, too.
        return modified_resnet(images, self.body.stem, self.body.stages, self.body.head)


class ThreeStages(Network):
    stages = 3


class TwoStages(Network):
    stages = 2


@pytest.mark.parametrize(("network", "stages"), [(Network, 4), (ThreeStages, 3), (TwoStages, 2)])
def test_a_network_is_judged_with_the_stages_that_it_has(network: type[Network], stages: int) -> None:
    found = discover(network, BY_ID["modified_resnet"])

    assert found.certainty == "verified"
    assert found.fixed["stages"] == stages


class TakesNoOtherImage(Network):
    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)  # type: ignore[no-any-return]  # a module returns a tensor here


def test_a_network_that_takes_the_images_alone_that_it_was_built_for_is_judged_on_such_as_shrink_evenly() -> (
    None
):
    found = discover(TakesNoOtherImage, BY_ID["modified_resnet"])

    assert found.certainty == "verified"
    assert found.refuses == EVENLY_SHRUNK
    assert discover(TwoStages, BY_ID["modified_resnet"]).refuses == ()


def test_an_adapter_builds_a_network_with_a_count_for_each_stage() -> None:
    adapter = FoundAdapter(discover(TwoStages, BY_ID["modified_resnet"]), TwoStages)
    sizes = {"channels": 3, "hidden": 4, "heads": 2, "classes": 5, "height": 7, "width": 15}

    built = adapter.build({**sizes, "stages": 2, "block": "bottleneck"})

    assert built.body.layers == (2, 3)
    assert built(torch.zeros(1, 3, 7, 15)).shape == (1, 5)


class Head(nn.Module):
    """Attention pooling by torch's own attention, whose output layer another one follows."""

    def __init__(self, tokens: int, width: int, heads: int, classes: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(tokens, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.proj = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.position
        out, _ = self.attention(tokens[:, :1], tokens, tokens, need_weights=False)
        return self.proj(out[:, 0])  # type: ignore[no-any-return]  # a module returns a tensor here


class BasicUnlessTold(nn.Module):
    def __init__(
        self, blocks: Sequence[int], width: int, heads: int, classes: int, image_size: tuple[int, int],
        block: Literal["basic", "bottleneck"] = "basic",
    ) -> None:  # fmt: skip
        super().__init__()
        rows, columns = (side // 32 * 32 for side in image_size)
        body = ModifiedResnet(
            3, width, heads, classes, height=rows, width=columns, layers=tuple(blocks), block=block
        )
        self.stem, self.stages = body.stem, body.stages
        self.head = Head(body.head.position.shape[0], body.head.channels, heads, classes)

    def forward(self, images: Tensor) -> Tensor:
        return modified_resnet(images, self.stem, self.stages, self.head)


def test_a_network_with_two_output_layers_is_judged_with_both_kinds_of_blocks() -> None:
    found = discover(BasicUnlessTold, BY_ID["modified_resnet"])

    assert found.neutral == ("head.attention.out_proj.weight", "head.attention.out_proj.bias")
    assert "block" in found.takes
    assert not found.unmatched
