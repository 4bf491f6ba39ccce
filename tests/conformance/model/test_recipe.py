"""Recipes survive the way to another process."""

import json

from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.recipe import Recipe

EDITS = st.tuples(
    st.sampled_from(["permute", "scale", "zero", "renew_from"]),
    st.none() | st.integers(0, 3),
    st.none() | st.floats(allow_nan=False) | st.tuples(st.integers(), st.integers()),
)
RECIPES = st.builds(
    Recipe,
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
    st.sampled_from(["normal", "weight", "random_mask"]),
    st.integers(0),
)


@given(RECIPES, st.lists(EDITS, max_size=4))
def test_a_recipe_survives_being_written(recipe, edits):
    for edit in edits:
        recipe = recipe.edit(*edit)

    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(RECIPES, EDITS, EDITS)
def test_edits_are_kept_in_order_and_leave_the_old_recipe_alone(recipe, first, second):
    edited = recipe.edit(*first).edit(*second)

    assert [(e.op, e.axis, e.argument) for e in edited.edits] == [first, second]
    assert recipe.edits == ()
