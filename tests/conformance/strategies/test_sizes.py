"""Sizes to try differ from each other, obey the contract, and stay small where every pixel meets every other."""

import random
from dataclasses import replace

import pytest

from attncheck.model.case import Scalar
from attncheck.strategies.sizes import WIDE, Rules, draw, plans
from attncheck.targets.adapter import Reference
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref.catalogue import BY_ID


def rules(mechanism: Mechanism, **options: Scalar) -> Rules:
    subject = Subject(mechanism, Reference(mechanism).interface)
    return rules_of(subject, {**default_options(subject), **options})


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


@pytest.mark.parametrize(
    "mechanism", ["scaled_dot_product", "multi_head", "squeeze_excitation", "selective_kernel"]
)
def test_every_width_is_once_wider_than_a_block_of_128(mechanism: str) -> None:
    own = rules(BY_ID[mechanism])
    legal = [sizes for plan in plans(own.primary, own.base, 129) if (sizes := own.planned(plan)) is not None]

    for axis in set(own.primary) & set(WIDE):
        # As many channels as groups can share are one less.
        assert max(sizes[axis] for sizes in legal) >= 128, axis


def test_one_head_is_once_as_wide_where_heads_share_a_width() -> None:
    shared = replace(rules(BY_ID["multi_head"]), ties={"head_dim": "model_dim // heads"})
    legal = [sizes for plan in plans(shared.primary, shared.base, 129) if (sizes := shared.planned(plan))]

    assert max(sizes["head_dim"] for sizes in legal) == 129


def test_a_drawn_width_is_now_and_then_beyond_64() -> None:
    own, rng = rules(BY_ID["dot_product"]), random.Random(0)
    drawn = [sizes["head_dim"] for _ in range(300) if (sizes := draw(own, rng)) is not None]

    assert max(drawn) > 64
    assert sum(size > 17 for size in drawn) < 60


def test_no_width_is_wide_where_the_base_sizes_are_slow() -> None:
    slow = rules(BY_ID["modified_resnet"])

    assert not [
        plan for plan in plans(slow.primary, slow.base, 129) if set(plan) & set(WIDE) and 129 in plan.values()
    ]


@pytest.mark.parametrize(("stages", "least"), [(4, 31), (3, 15), (2, 7)])
def test_the_least_size_may_depend_on_an_option(stages: int, least: int) -> None:
    own = rules(BY_ID["modified_resnet"], stages=stages)

    sizes = own.complete({**{axis: own.base[axis] for axis in own.primary}, "height": 1})

    assert sizes is not None
    assert sizes["height"] == least
