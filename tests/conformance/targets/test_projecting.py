"""Attention that takes queries, keys and values, by heads or as maps, is judged between projections."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from attncheck import run
from attncheck.targets.found import Found
from attncheck.targets.opening import find_for
from attncheck.targets.projecting import found_projecting, projecting
from attnref.catalogue import BY_ID


class OfAWindow(nn.Module):
    """Biases of a window, one axis of the table for each direction."""

    def __init__(self, heads: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.table = nn.Parameter(torch.randn(heads, 2 * height - 1, 2 * width - 1))

    def offsets(self, size: int) -> Tensor:
        place = torch.arange(size)
        return place - place[:, None] + size - 1

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        down, across = (self.offsets(size) for size in self.size)
        bias = self.table[:, down[:, None, :, None], across[None, :, None, :]]
        return softmax(q @ k.mT * q.shape[-1] ** -0.5 + bias.flatten(3).flatten(1, 2), -1) @ v


class OfDistances(OfAWindow):
    """Left and right share a bias."""

    def offsets(self, size: int) -> Tensor:
        place = torch.arange(size)
        return (place - place[:, None]).abs() + size - 1


def handed(q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
    place = torch.arange(q.shape[2])
    bias = table[place[:, None] - place + q.shape[2] - 1].movedim(-1, 0)
    return softmax(q @ k.mT * q.shape[-1] ** -0.5 + bias, -1) @ v


def handed_turned(q: Tensor, k: Tensor, v: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    place = torch.arange(q.shape[2])
    weights = softmax(q @ k.mT * q.shape[-1] ** -0.5 + biases[:, place[:, None] - place + q.shape[2] - 1], -1)
    return weights @ v, weights


@pytest.mark.parametrize(
    ("target", "owned"),
    [(OfAWindow, {}), (handed, {"table": "table"}), (handed_turned, {"biases": "table.T"})],
)
def test_a_right_one_is_verified_between_projections(target, owned: dict[str, str]) -> None:
    found = find_for(target, target.__name__, "relative_position", {}, lambda _: None)

    assert (found.certainty, found.core, found.owned) == ("verified", True, owned)


@pytest.mark.parametrize(("target", "conforms"), [(OfAWindow, True), (OfDistances, False), (handed, True)])
def test_it_is_judged_as_the_whole_would_be(target, conforms: bool) -> None:
    report = run(target, mechanism="relative_position", budget="quick", seed=3)

    assert report.conforms == conforms


def cross_of_maps(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    height = query.shape[2]
    columns = torch.einsum("bdhw,bdjw->bhwj", query, key)
    columns = columns.masked_fill(torch.eye(height, dtype=torch.bool)[:, None], -torch.inf)
    rows = torch.einsum("bdhw,bdhj->bhwj", query, key)
    weights = softmax(torch.cat([columns, rows], -1), -1)
    down, across = weights[..., :height], weights[..., height:]
    return torch.einsum("bhwj,bcjw->bchw", down, value) + torch.einsum("bhwj,bchj->bchw", across, value)


def cross_that_counts_itself_twice(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    columns = torch.einsum("bdhw,bdjw->bhwj", query, key)
    rows = torch.einsum("bdhw,bdhj->bhwj", query, key)
    down, across = softmax(torch.cat([columns, rows], -1), -1).split(query.shape[2:], -1)
    return torch.einsum("bhwj,bcjw->bchw", down, value) + torch.einsum("bhwj,bchj->bchw", across, value)


class OfAllPixels(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = softmax(q.flatten(2).mT @ k.flatten(2), -1)
        return (v.flatten(2) @ weights.mT).unflatten(2, q.shape[2:]), weights


@pytest.mark.parametrize(
    ("target", "mechanism", "conforms"),
    [
        (cross_of_maps, "criss_cross", True),
        (cross_that_counts_itself_twice, "criss_cross", False),
        (OfAllPixels, "spatial_self", True),
    ],
)
def test_attention_over_maps_is_judged_between_convolutions(target, mechanism: str, conforms: bool) -> None:
    report = run(target, mechanism=mechanism, budget="quick", seed=3)

    assert report.conforms == conforms
    assert "(batch, channels, height, width)" in report.header.adapter[0]


def test_attention_that_is_a_mechanism_of_its_own_is_not_the_middle_of_another() -> None:
    def seek(target: object) -> Found:
        raise AssertionError("it is not looked at")

    assert found_projecting(handed, BY_ID["multi_head"], seek) is None


def test_a_mechanism_that_is_not_judged_between_projections_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^projecting: mechanism must be one of .*, got 'multi_head'$"):
        projecting(handed, "multi_head")


def test_the_width_and_the_heads_go_by_names_that_the_core_leaves() -> None:
    made = projecting(OfAWindow, "relative_position")(model_dim=6, num_heads=2, heads=2, height=2, width=3)

    assert made(torch.ones(1, 6, 6)).shape == (1, 6, 6)
