"""Laws of masks: each is broken by a mask that is forgotten, or that does more than hide."""

import pytest

from attncheck.checks import masking


def forgets_the_mask(call, built, inputs, options):
    return call(built, {n: t for n, t in inputs.items() if n not in ("mask", "valid_lens")}, options)


def forgets_to_be_causal(call, built, inputs, options):
    return call(built, inputs, {**options, "causal": False})


def scales_if_masked(out, inputs, built):
    return out * 1.01 if {"mask", "valid_lens"} & inputs.keys() else out


@pytest.mark.parametrize(
    "mechanism", ["scaled_dot_product", "multi_head", "cross", "additive", "masked_softmax"]
)
@pytest.mark.parametrize("check", ["masked_equals_removed", "hidden_keys_have_no_influence"])
def test_a_forgotten_mask_shows(verdict, check, mechanism):
    assert verdict(check, mechanism, instead=forgets_the_mask).outcome == "failed"


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "dot_product"])
def test_a_mask_that_changes_more_than_it_hides_shows(verdict, mechanism):
    assert verdict("full_mask_changes_nothing", mechanism, scales_if_masked).outcome == "failed"


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head"])
def test_a_forgotten_causal_mode_shows(verdict, mechanism):
    assert verdict("causal_sees_no_future", mechanism, instead=forgets_to_be_causal).outcome == "failed"


def test_every_law_of_masks_is_tested_here():
    assert {check.id for check in masking.CHECKS} == {
        "masked_equals_removed",
        "hidden_keys_have_no_influence",
        "full_mask_changes_nothing",
        "causal_sees_no_future",
    }
