"""A function that makes modules is constructed like a class; one that computes is called."""

import pytest
import torch
from torch import Tensor, nn

from attncheck.targets.discover import discover
from attncheck.targets.making import is_constructor, makes, rank_told
from attnref.catalogue import BY_ID


class Gate(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, feature_map: Tensor) -> Tensor:
        pooled = self.up(torch.relu(self.down(feature_map.mean((2, 3)))))
        return feature_map * torch.sigmoid(pooled)[:, :, None, None]


def annotated(channels: int, reduction: int = 16) -> Gate:
    made = [Gate(channels, max(1, channels // reduction))]
    return made[0]


def annotated_in_words(channels: int, reduction: int = 16) -> "Gate":
    return [Gate(channels, max(1, channels // reduction))][0]


def returned_at_once(channels: int, reduction: int = 16):  # type: ignore[no-untyped-def]
    return Gate(channels, max(1, channels // reduction))


def returned_by_name(channels: int, reduction: int = 16) -> nn.Module:
    gate = Gate(channels, max(1, channels // reduction))
    nn.init.zeros_(gate.up.bias)
    return gate


def stacked(channels: int) -> nn.Module:
    layers = nn.Sequential(Gate(channels, 2))
    layers.append(Gate(channels, 3))
    return layers


def mapped(x: Tensor) -> Tensor:
    return nn.functional.relu(x)


def gated(x: Tensor) -> Tensor:
    return Gate(x.shape[1], 2)(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("function", [annotated, annotated_in_words, returned_at_once, returned_by_name])
def test_a_function_makes_what_it_says_or_returns(function) -> None:  # type: ignore[no-untyped-def]
    assert makes(function) is Gate
    assert is_constructor(function)


def test_what_is_made_may_be_called_by_its_module() -> None:
    assert makes(stacked) is nn.Sequential


@pytest.mark.parametrize("target", [gated, mapped, Gate, Gate(4, 2), torch.softmax])
def test_what_computes_makes_nothing(target) -> None:  # type: ignore[no-untyped-def]
    assert makes(target) is None


def test_a_factory_is_built_with_sizes_and_its_modules_are_called() -> None:
    found = discover(returned_at_once, BY_ID["squeeze_excitation"])

    assert found.certainty == "verified"
    assert found.is_class
    assert dict(found.arguments) == {"channels": "channels", "reduction": "reduction"}
    assert [argument.tensor for argument in found.call] == ["x"]


class OfVideo(nn.Module):
    """Pools what a map of any rank could be taken for."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d((1, 2, 2))


class OfBoth(OfVideo):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.pools = [nn.MaxPool2d(2), nn.MaxPool3d(2)]


def test_how_many_axes_a_map_has_is_told_by_code_for_one_number_alone() -> None:
    assert (rank_told(OfVideo), rank_told(OfBoth), rank_told(Gate)) == (3, None, None)
