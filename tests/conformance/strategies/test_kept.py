"""What is made of a recipe is made once, and whoever may write into it has a copy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.recipe import Edit, Layout, Recipe
from attncheck.strategies.kept import Kept
from attncheck.strategies.tensors import make

RECIPE = Recipe((3, 5, 7), "normal", 11)


@given(st.lists(st.tuples(st.sampled_from((2, 3, 5)), st.integers(0, 3), st.booleans()), max_size=30))
def test_whatever_was_asked_before_the_tensor_is_that_of_its_recipe(
    asked: list[tuple[int, int, bool]],
) -> None:
    kept = Kept(room=20)
    for size, seed, own in asked:
        recipe = Recipe((size, 7), "normal", seed)
        tensor = (kept.own if own else kept.shared)(recipe, "cpu")
        assert torch.equal(tensor, make(recipe, "cpu"))
        if own:
            tensor.zero_()


@given(st.lists(st.integers(1, 15), max_size=30))
def test_no_more_numbers_are_kept_than_there_is_room_for(sizes: list[int]) -> None:
    kept = Kept(room=10)
    for size in sizes:
        kept.shared(Recipe((size,), "vector", size), "cpu")
        assert sum(t.numel() for t in kept.tensors.values()) == kept.numbers <= 10


def test_what_was_wanted_last_stays() -> None:
    kept = Kept(room=10)
    first, second, third = (Recipe((5,), "vector", seed) for seed in range(3))
    one = kept.shared(first, "cpu")
    two = kept.shared(second, "cpu")
    kept.shared(first, "cpu")

    kept.shared(third, "cpu")

    assert kept.shared(first, "cpu") is one
    assert kept.shared(second, "cpu") is not two


@pytest.mark.parametrize(
    ("layout", "edits"),
    [
        ("contiguous", ()), ("contiguous", (Edit("narrow", 1, 1),)), ("transposed", ()),
        ("offset", ()), ("expanded", ()), ("channels_last", ()),
    ],
)  # fmt: skip
def test_a_copy_lies_in_memory_as_the_recipe_says(layout: Layout, edits: tuple[Edit, ...]) -> None:
    recipe = Recipe((3, 2, 5, 7), "normal", 11, edits=edits, layout=layout)
    kept = Kept()
    fresh = make(recipe, "cpu")

    for _ in range(2):
        own = kept.own(recipe, "cpu")
        assert (own.stride(), own.storage_offset()) == (fresh.stride(), fresh.storage_offset())
