"""Placements that were found at some sizes hold at others: tensors for each branch are as many as the branches."""

from attncheck.targets.found_adapter import continued, restacked
from attncheck.targets.placing import Placement

TWO = {"excite.0.weight": 0, "excite.1.weight": 0, "squeeze.weight": 0}
THREE = {**TWO, "excite.2.weight": 0}


def test_a_stack_for_all_branches_follows_their_number() -> None:
    found = Placement("fc.weight", ("excite.0.weight", "excite.1.weight"), "cat")

    assert restacked(found, THREE).roles == ("excite.0.weight", "excite.1.weight", "excite.2.weight")
    assert restacked(restacked(found, THREE), TWO) == found


def test_a_pack_of_different_layers_stays_as_it_is() -> None:
    packed = Placement("qkv.weight", ("query.weight", "key.weight"), "r o i -> (r o) i")

    assert restacked(packed, {"query.weight": 0, "key.weight": 0, "value.weight": 0}) == packed


def test_tensors_that_are_numbered_go_on_in_step() -> None:
    first, second = (Placement(f"branch{i + 2}.weight", (f"excite.{i}.weight",)) for i in range(2))

    assert [p.target for p in continued((first, second), THREE)] == ["branch4.weight"]
