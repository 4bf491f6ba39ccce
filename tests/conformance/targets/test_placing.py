"""Weights are placed by patterns, and gradients come back the way the weights went."""

import pytest
import torch

from attncheck.targets.placing import (
    Placement,
    UnplacedError,
    continued,
    moved,
    require_places,
    restacked,
)

NAMES = {"heads": 3}
TWO = {"excite.0.weight": 0, "excite.1.weight": 0, "squeeze.weight": 0}
THREE = {**TWO, "excite.2.weight": 0}
ROLES = ("query.weight", "key.weight", "value.weight")


def reference() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {role: torch.randn(6, 7, generator=generator, dtype=torch.float64) for role in ROLES}


PLACEMENTS = [
    (Placement("w", ROLES[:1]), (6, 7)),
    (Placement("w", ROLES[:1], "o i -> i o"), (7, 6)),
    (Placement("w", ROLES, "r (h d) i -> (r h d) i"), (18, 7)),
    (Placement("w", ROLES, "r (h d) i -> (h r d) i"), (18, 7)),
    (Placement("w", ROLES, "r (h d) i -> i (h d r)"), (7, 18)),
    (Placement("w", ROLES, "cat"), (18, 7)),
    (Placement("w", ROLES, "r o i -> r i o"), (3, 7, 6)),
    (Placement("w", ROLES[:1], "r o i -> r i o"), (1, 7, 6)),
    (Placement("w.{}", ROLES[:1], "(h d) i -> h d i"), (2, 7)),
    (Placement("w", ROLES[:1], "flip o i -> i o"), (7, 6)),
    (Placement("w", ROLES[:1], "flip roll"), (6, 7)),
    (Placement("w", ROLES[:1], "last"), (6, 7)),
    (Placement("w", ROLES[:1], "last o i -> i o"), (7, 6)),
    (Placement("a|b", ROLES[:1]), (3, 7)),
    (Placement("a|b", ROLES[:1], "o i -> i o"), (7, 3)),
]


@pytest.mark.parametrize(("placement", "shape"), PLACEMENTS)
def test_gradients_return_to_where_the_weights_came_from(
    placement: Placement, shape: tuple[int, ...]
) -> None:
    names = {name.format(i) for i in range(3) for name in placement.names}
    own = {name: torch.zeros(shape, dtype=torch.float64, requires_grad=True) for name in names}
    weights = reference()
    with torch.no_grad():
        placement.place(own, weights, NAMES)
    # A gradient that equals the weight must come back as the reference's weight.
    for tensor in own.values():
        tensor.grad = tensor.detach().clone()

    gradients = placement.gradients(own, weights, NAMES)

    assert set(gradients) == set(placement.roles)
    assert all(torch.equal(gradients[role], weights[role]) for role in placement.roles)


def test_a_first_axis_may_begin_at_its_middle_or_run_backwards() -> None:
    offsets = {"table": torch.arange(-2.0, 3.0)[:, None]}

    def read(pattern: str) -> list[float]:
        own = torch.zeros(5, 1)
        Placement("w", ("table",), pattern).place({"w": own}, offsets, {})
        return own.flatten().tolist()

    assert read("roll") == [0, 1, 2, -2, -1]
    assert read("flip") == [2, 1, 0, -1, -2]
    assert read("flip roll") == [0, -1, -2, 2, 1]
    assert read("last") == [-1, 0, 1, 2, -2]
    assert moved("flip roll o i -> i o") == (("flip", "roll"), "o i -> i o")
    assert moved("o i -> i o") == ((), "o i -> i o")


def test_a_missing_gradient_is_missing_for_every_role() -> None:
    own = {"w": torch.zeros(18, 7, requires_grad=True)}

    assert Placement("w", ROLES, "cat").gradients(own, reference(), NAMES) == dict.fromkeys(ROLES)


def test_a_tensor_of_another_size_is_refused_by_name_and_shape() -> None:
    with pytest.raises(ValueError, match=r"^w has shape \(5, 7\), expected \(6, 7\)$"):
        Placement("w", ROLES[:1]).place({"w": torch.zeros(5, 7)}, reference(), NAMES)


def test_a_tensor_without_numbers_is_named_as_such() -> None:
    empty = {"w": torch.zeros(0, 7, dtype=torch.float64)}

    with pytest.raises(ValueError, match=r"^w has no numbers at these sizes: its shape is \(0, 7\)$"):
        Placement("w", ROLES[:1]).place(empty, reference(), NAMES)


def test_a_stack_for_all_branches_follows_their_number() -> None:
    found = Placement("fc.weight", ("excite.0.weight", "excite.1.weight"), "cat")

    assert restacked(found, THREE).roles == ("excite.0.weight", "excite.1.weight", "excite.2.weight")
    assert restacked(restacked(found, THREE), TWO) == found


def test_a_pack_of_different_layers_stays_as_it_is() -> None:
    packed = Placement("qkv.weight", ("query.weight", "key.weight"), "r o i -> (r o) i")

    assert restacked(packed, {"query.weight": 0, "key.weight": 0, "value.weight": 0}) == packed


def test_weights_left_over_on_both_sides_are_named_and_on_one_side_are_not() -> None:
    placed = [Placement("conv.weight", ("conv.weight",)), Placement("heads.{}.weight", ("query.weight",))]
    own, wanted = {"conv.weight", "heads.0.weight", "heads.1.weight"}, {"conv.weight", "query.weight"}

    require_places(placed, own | {"skip.weight"}, wanted)
    require_places(placed, own, wanted | {"skip.conv.weight"})
    with pytest.raises(UnplacedError, match=r"which of skip.conv.weight belongs in skip.weight"):
        require_places(placed, own | {"skip.weight"}, wanted | {"skip.conv.weight"})


def test_tensors_that_are_numbered_go_on_in_step() -> None:
    first, second = (Placement(f"branch{i + 2}.weight", (f"excite.{i}.weight",)) for i in range(2))

    assert [p.target for p in continued((first, second), THREE)] == ["branch4.weight"]
