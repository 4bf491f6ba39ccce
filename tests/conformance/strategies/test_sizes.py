"""Sizes to try differ from each other, obey the contract, and stay small where every pixel meets every other."""

from dataclasses import replace

from attncheck.strategies.sizes import plans
from attncheck.targets.adapter import Reference
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref.catalogue import BY_ID


def rules(mechanism: Mechanism):  # type: ignore[no-untyped-def]
    subject = Subject(mechanism, Reference(mechanism).interface)
    return rules_of(subject, default_options(subject))


def test_the_base_sizes_differ_from_each_other() -> None:
    own = rules(BY_ID["multi_head"])
    sizes = own.planned({})

    assert sizes is not None
    assert len({sizes[axis] for axis in own.primary}) == len(own.primary)


def test_a_long_side_stands_beside_narrow_ones() -> None:
    sizes = rules(BY_ID["criss_cross"]).planned({"height": 129, "width": 2})

    assert (sizes["height"], sizes["width"]) == (129, 2)


def test_a_map_that_must_be_square_is_not_long_in_both_directions() -> None:
    square = replace(rules(BY_ID["criss_cross"]), ties={"width": "height"})
    widest = [square.planned(plan) for plan in plans(square.primary, square.base, 129)]

    assert max(sizes["height"] for sizes in widest if sizes is not None) == 33
