"""The nearest name is suggested only if it is near."""

from attncheck.model.nearest import did_you_mean


def test_a_typo_is_answered_with_the_nearest_name():
    assert (
        did_you_mean("ignore_key_order", ["ignores_key_order", "cross"])
        == "; did you mean 'ignores_key_order'?"
    )


def test_of_names_that_are_far_none_is_suggested():
    assert did_you_mean("zzz", ["cross", "additive"]) == ""
