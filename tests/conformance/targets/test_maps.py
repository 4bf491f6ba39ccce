"""Attention over the pixels of a map whose sizes or layers leave a doubt, right and wrong."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class Pixels(nn.Module):
    """A projection of queries, keys and values each; by default none of them is narrower than the map."""

    def __init__(self, channels: int, reduction: int = 1) -> None:
        super().__init__()
        self.theta, self.phi = (nn.Conv2d(channels, channels // reduction, 1) for _ in range(2))
        self.g = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def folded(self, read: Tensor, x: Tensor) -> Tensor:
        return read.view_as(x)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        return x + self.gamma * self.folded(v @ torch.softmax(q.mT @ k, -1).mT, x)


class WidthFirst(Pixels):
    """Rows and columns are exchanged, which square maps do not notice in their shape."""

    def folded(self, read: Tensor, x: Tensor) -> Tensor:
        return read.unflatten(2, (x.shape[3], x.shape[2])).transpose(2, 3)


class AsHighAsWide(Pixels):
    """Right for square maps; others raise."""

    def folded(self, read: Tensor, x: Tensor) -> Tensor:
        return read.view(*x.shape[:2], x.shape[3], x.shape[2])


class NormBehindTheSkip(nn.Module):
    """A non-local block that norms the sum; of its layers `w` alone has a name that tells nothing, and a shape of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Conv2d(channels, max(1, channels // 2), 1, bias=False) for _ in range(3)
        )
        self.w = nn.Conv2d(max(1, channels // 2), channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        return self.bn(self.w((v @ torch.softmax(q.mT @ k, -1).mT).unflatten(2, x.shape[2:])) + x)


def test_widths_that_only_the_target_makes_equal_are_equal() -> None:
    found = discover(Pixels, BY_ID["spatial_self"])

    assert (found.certainty, found.derived["reduced"]) == ("verified", "channels")


@pytest.mark.parametrize("target", [WidthFirst, AsHighAsWide])
def test_what_is_right_for_square_maps_alone_fails_at_others(target: type[nn.Module]) -> None:
    report = run(target, mechanism="spatial_self", budget="quick", isolate=False, seed=1)

    assert not report.conforms


def test_what_runs_for_square_maps_alone_is_found_there_and_fails_where_they_are_not() -> None:
    assert discover(AsHighAsWide, BY_ID["spatial_self"]).certainty == "verified"

    report = run(
        AsHighAsWide, mechanism="spatial_self", isolate=False, seed=1, checks=("runs_at_every_legal_size",)
    )

    (verdict,) = (v for v in report.verdicts if v.check == "runs_at_every_legal_size")
    assert [finding.sizes for finding in verdict.findings] == ["height != width"]


def test_a_layer_of_its_own_shape_needs_no_name_beside_named_ones() -> None:
    assert discover(NormBehindTheSkip, BY_ID["non_local"]).certainty == "named"
    assert not run(NormBehindTheSkip, mechanism="non_local", budget="quick", isolate=False, seed=1).conforms
