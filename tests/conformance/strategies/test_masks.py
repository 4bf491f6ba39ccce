"""Masks of recipes: what each kind lets be seen."""

from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import make
from attncheck.targets.masks import hides_keys_alone, parted

SHAPES = st.tuples(st.integers(2, 4), st.just(1), st.integers(2, 5), st.integers(2, 7))


@given(SHAPES, st.integers(0, 99))
def test_a_mixed_mask_is_one_mask_for_all_samples_and_the_padding_of_each(shape, seed):
    mask = make(Recipe(shape, "mixed_mask", seed, "bool"))

    parts = parted(mask)

    assert parts is not None
    shared, keys = parts
    assert shared.shape[0] == 1
    assert hides_keys_alone(keys)
    assert bool(((shared & keys) == mask).all())


@given(SHAPES, st.integers(0, 99))
def test_every_query_of_a_mixed_mask_sees_the_first_key(shape, seed):
    assert bool(make(Recipe(shape, "mixed_mask", seed, "bool"))[..., 0].all())


def test_a_mask_with_samples_of_their_own_cannot_be_parted():
    mask = make(Recipe((3, 1, 5, 7), "random_mask", 1, "bool"))

    assert parted(mask) is None
