"""Which weight is which is told by what weights do, even where the target has a mistake."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attncheck.targets.hypotheses import Guess
from attncheck.targets.probing import acts_its_roles, doubled_parameters, lacking_parameters, stands_apart
from attncheck.targets.trying import case_for
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]


class Unscaled(nn.Module):
    """Right but for the scale."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, t in ((self.q, query), (self.k, key), (self.v, value))
        )
        return self.o((torch.softmax(q @ k.mT, dim=-1) @ v).transpose(1, 2).flatten(2))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    monkeypatch.setattr("attncheck.targets.search.COMPARISONS", 60)
    return discover(Unscaled, MULTI_HEAD)


def acts(found: Found) -> bool:
    case = case_for(found, MULTI_HEAD, {})
    assert case is not None
    return acts_its_roles(found, Unscaled, case)


def exchanged(found: Found, one: str, other: str) -> Found:
    """The same adapter with two layers of the reference in each other's place."""
    names = {one: other, other: one}
    placements = []
    for placement in found.placements:
        layer, _, leaf = placement.roles[0].rpartition(".")
        placements.append(replace(placement, roles=(f"{names.get(layer, layer)}.{leaf}",)))
    return replace(found, placements=tuple(placements))


def test_weights_in_their_places_act_their_roles_in_spite_of_a_mistake(found: Found) -> None:
    assert acts(found)


@pytest.mark.parametrize(("one", "other"), [("query", "key"), ("key", "value"), ("query", "value")])
def test_exchanged_weights_do_not_act_their_roles(found: Found, one: str, other: str) -> None:
    assert not acts(exchanged(found, one, other))


def test_one_guess_among_others_stands_apart_only_by_its_cost() -> None:
    def guess(cost: float) -> Guess:
        return Guess((), (), (), cost, named=False)

    assert stands_apart([guess(3.0)])
    assert stands_apart([guess(0.0), guess(0.25)])
    assert not stands_apart([guess(0.0), guess(0.1)])


def test_too_few_registered_numbers_are_counted() -> None:
    reference = {f"{role}.weight": (6, 6) for role in ("query", "key", "value")}

    assert lacking_parameters({"w": (108,)}, reference, 2) == ""
    assert lacking_parameters({"w": (50,)}, reference, 2) == (
        "50 numbers are registered as parameters, where at least 72 must be"
    )


def test_a_perceptron_for_each_of_two_places_is_one_too_many() -> None:
    shared = {"fc.0.weight": (2, 8), "fc.2.weight": (8, 2)}
    twice = {f"{place}.{name}": shape for place in ("mean", "max") for name, shape in shared.items()}

    assert doubled_parameters(shared, shared) == ""
    assert doubled_parameters({**twice, "extra.weight": (3, 3)}, shared) == ""
    assert doubled_parameters({**twice, "mean.fc.0.bias": (2,)}, shared) == (
        "every weight is registered 2 times, each under a name of its own, where one serves all"
    )
