"""Laws of even weights in images: each is broken by weights that are uneven or do not sum to one."""

import pytest
import torch

from attncheck.checks import averages


def reads_the_query(out, inputs, built):
    return out + built.query.weight.sum()


def ramps_along_columns(out, inputs, built):
    return out + 0.1 * torch.arange(out.shape[-1], dtype=out.dtype) * inputs["x"].amax()


def grows_by_a_tenth(out, inputs, built):
    return 1.1 * out


def squares_the_value(out, inputs, built):
    return out + built.value.weight.square().sum()


CHANGES = [
    ("constant_image_gives_uniform_weights", "spatial_self", reads_the_query),
    ("constant_image_gives_uniform_weights", "attention_pool", reads_the_query),
    ("zero_key_adds_the_mean", "spatial_self", ramps_along_columns),
    ("zero_key_adds_the_mean", "non_local", ramps_along_columns),
    ("zero_key_adds_the_mean", "channel_self", squares_the_value),
    ("zero_key_gives_the_mean_of_the_cross", "criss_cross", grows_by_a_tenth),
    ("zero_key_and_position_pool_the_mean", "attention_pool", grows_by_a_tenth),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_average_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


@pytest.mark.parametrize(
    ("check", "mechanism", "layer"),
    [
        ("constant_image_gives_uniform_weights", "spatial_self", "query"),
        ("zero_key_adds_the_mean", "spatial_self", "key"),
        ("zero_key_adds_the_mean", "channel_self", "value"),
        ("zero_key_gives_the_mean_of_the_cross", "criss_cross", "gamma"),
        ("zero_key_and_position_pool_the_mean", "attention_pool", "position"),
    ],
)
def test_a_law_of_a_layer_that_the_target_lacks_is_skipped_by_its_name(verdict, check, mechanism, layer):
    lacks = {"absent": (layer, f"{layer}.weight", f"{layer}.bias")}

    found = verdict(check, mechanism, interface=lacks)

    assert (found.outcome, f"the target has no {layer}" in found.reason) == ("skipped", True), found.reason


def test_uneven_weights_beside_a_right_output_are_seen(verdict):
    def returns_uneven_weights(call, built, inputs, options):
        results = call(built, inputs, options)
        if "weights" not in results:
            return results
        weights = results["weights"]
        return {
            **results,
            "weights": weights * torch.linspace(0.5, 1.5, weights.shape[-1], dtype=weights.dtype),
        }

    assert verdict(
        "constant_image_gives_uniform_weights", "criss_cross", instead=returns_uneven_weights
    ).findings


def test_every_law_of_even_weights_has_an_implementation_that_breaks_it():
    assert {check.id for check in averages.CHECKS} == {check for check, _, _ in CHANGES}
