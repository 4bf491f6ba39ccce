"""Gradients: right values with wrong, missing, leaking or infinite gradients are each seen."""

import pytest
import torch

from attncheck.checks import gradient
from attncheck.checks.comparing import ROUNDINGS
from attncheck.strategies.tolerance import ROUNDOFF


def doubles_the_gradient(out, inputs, built):
    return out + (out - out.detach())


def leaks_between_samples(out, inputs, built):
    product = out * out.roll(1, 0)
    return out + product - product.detach()


def has_an_infinite_gradient(out, inputs, built):
    return out + (out * 0).sqrt()


def learns_only_away_from_zero(out, inputs, built):
    return out if bool(built.gamma) else out.detach()


def stops_the_gradient(call, built, inputs, options):
    return call(built, {**inputs, "y": inputs["y"].detach()}, options)


def forgets_a_part_while_it_learns(out, inputs, built):
    return out / 2 if built.training and out.requires_grad else out


def learns_twice_as_fast_in_training(out, inputs, built):
    return out + (out - out.detach()) if built.training else out


CHANGES = [
    ("trains_like_the_reference", "non_local", forgets_a_part_while_it_learns),
    ("trains_like_the_reference", "cbam_block", learns_twice_as_fast_in_training),
    ("input_gradients_match", "scaled_dot_product", doubles_the_gradient),
    ("parameter_gradients_match", "cross", doubles_the_gradient),
    ("bias_gradients_match", "scaled_dot_product", doubles_the_gradient),
    ("gradients_do_not_mix", "cross", leaks_between_samples),
    ("dead_rows_leave_gradients_finite", "scaled_dot_product", has_an_infinite_gradient),
    ("dead_rows_leave_gradients_finite", "dot_product", has_an_infinite_gradient),
    ("zeros_leave_gradients_finite", "kernel_regression", has_an_infinite_gradient),
    ("zeros_leave_gradients_finite", "squeeze_excitation", has_an_infinite_gradient),
    ("learns_from_zero", "channel_self", learns_only_away_from_zero),
    ("learns_from_zero", "spatial_self", learns_only_away_from_zero),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_gradient_beside_a_right_value_shows(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_an_input_that_gets_no_gradient_shows(verdict):
    assert verdict("input_gradients_match", "cross", instead=stops_the_gradient).outcome == "failed"


def test_a_bias_that_gets_no_gradient_shows(verdict):
    def detaches_the_bias(call, built, inputs, options):
        return call(built, {n: t.detach() if n == "bias" else t for n, t in inputs.items()}, options)

    found = verdict("bias_gradients_match", "scaled_dot_product", instead=detaches_the_bias)

    assert found.outcome == "failed"
    assert "None" in found.findings[0].actual or found.findings[0].kind.startswith("raises")


def with_gradient_of(out, factor):
    """The same values; what flows back is multiplied."""
    return out.detach() + (out - out.detach()) * factor


@pytest.mark.parametrize("alone", [False, True])
def test_a_gradient_that_is_wrong_for_some_of_the_inputs_shows(verdict, alone):
    """Some mistakes need every input to require a gradient, some need one that does alone."""

    def errs(call, built, inputs, options):
        results = call(built, inputs, options)
        asked = sum(tensor.requires_grad for tensor in inputs.values())
        return {**results, "out": with_gradient_of(results["out"], 2 if (asked == 1) == alone else 1)}

    assert verdict("input_gradients_match", "scaled_dot_product", instead=errs).outcome == "failed"


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_wrong_gradient_of_one_input_shows_whichever_it_is(verdict, name):
    def doubles_one(call, built, inputs, options):
        return call(
            built, {n: with_gradient_of(t, 2) if n == name else t for n, t in inputs.items()}, options
        )

    assert verdict("input_gradients_match", "scaled_dot_product", instead=doubles_one).outcome == "failed"


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_gradient_of_zeros_where_one_flows_shows(verdict, name):
    def stops(call, built, inputs, options):
        stopped = inputs[name].detach() + 0 * inputs[name]
        return call(built, {**inputs, name: stopped}, options)

    assert verdict("input_gradients_match", "scaled_dot_product", instead=stops).outcome == "failed"


def test_where_the_values_are_wrong_gradients_are_not_judged(verdict):
    found = verdict("input_gradients_match", "cross", lambda out, inputs, built: out * 2)

    assert found.outcome == "skipped"
    assert "the values are wrong" in found.reason


def test_a_missing_gradient_shows_however_small_it_is(verdict, case_of):
    # Two keys and a query of one entry: the gradient of the keys is below one.
    small = [case_of("scaled_dot_product", batch=1, heads=1, q_len=1, kv_len=2, head_dim=1, v_dim=1)]

    def detaches_the_keys(call, built, inputs, options):
        return call(built, {**inputs, "k": inputs["k"].detach()}, options)

    found = verdict("input_gradients_match", "scaled_dot_product", instead=detaches_the_keys, given=small)

    assert found.outcome == "failed"
    assert found.findings[0].kind == "no gradient"


def test_no_gradient_is_as_good_as_one_that_is_zero(verdict, case_of):
    def lets_none_flow_to_the_keys_bias(built):
        built.key.bias.requires_grad_(False)
        return built

    none = verdict("parameter_gradients_match", "multi_head", built=lets_none_flow_to_the_keys_bias)
    empty = [case_of("cross", batch=0)]

    assert none.outcome == "passed"
    assert (
        verdict("input_gradients_match", "cross", instead=stops_the_gradient, given=empty).outcome == "passed"
    )


def test_a_gradient_that_is_zero_but_for_roundings_of_float32_is_right(verdict):
    """That of the keys' bias: softmax sees differences alone."""

    def rounds_what_flows_back(built):
        built.key.bias.register_hook(lambda gradient: gradient + ROUNDOFF[torch.float32])
        return built

    found = verdict("parameter_gradients_match", "multi_head", built=rounds_what_flows_back)

    assert found.outcome == "passed"


@pytest.mark.parametrize("largest", [100.0, 1e-3])
def test_negligible_is_what_roundings_of_the_largest_gradient_make(largest):
    """Of 1e-3 at least, and the output is no gradient."""
    limit = ROUNDINGS * ROUNDOFF[torch.float32] * largest
    given = torch.tensor([limit], dtype=torch.float64)
    flowing = {"out": given * 0 + 1e9, "grad.q": given * 0 + largest / 10, "grad.v": given * 0 + largest}

    assert gradient._negligible(given, flowing)
    assert gradient._negligible(given, {"out": given * 0}) == (largest == 1e-3)
    assert not gradient._negligible(given * 1.001, flowing)
    assert gradient._negligible(given[:0], {"grad.q": given[:0]})


LACKING = [
    ({"absent": ("key.bias", "query.bias")}, "query.bias"),
    ({"identity": ("output.weight",)}, "output.weight"),
    ({"unprojected": "heads > 0"}, "output.weight"),
    ({"shared": "1"}, "value.weight"),
]


@pytest.mark.parametrize(("interface", "parameter"), LACKING)
def test_parameters_that_a_target_lacks_owe_no_gradient_and_the_others_do(verdict, interface, parameter):
    def lacks_it(built):
        built.get_parameter(parameter).requires_grad_(False)
        return built

    def found(**change):
        return verdict("parameter_gradients_match", "multi_head", interface=interface, **change)

    assert found(built=lacks_it).outcome == "passed"
    assert found(change=doubles_the_gradient).outcome == "failed"


def test_two_samples_are_enough_to_see_that_their_gradients_mix(verdict, case_of):
    two, one = ([case_of("cross", seed, batch=size) for seed in range(2)] for size in (2, 1))

    assert verdict("gradients_do_not_mix", "cross", leaks_between_samples, given=two).outcome == "failed"
    assert verdict("gradients_do_not_mix", "cross", given=one).outcome == "skipped"


def test_an_input_without_a_gradient_mixes_none(verdict):
    assert verdict("gradients_do_not_mix", "cross", instead=stops_the_gradient).outcome == "passed"


def divides_by_the_norm_of_a_row(out, inputs, built):
    """The same values, but where a row is zero the gradient is that of a root at zero."""
    return out + out.square().sum(-1, keepdim=True).sqrt() * 0


def says_nan_for_a_row_of_zeros(out, inputs, built):
    return out / (out != 0).any(-1, keepdim=True)


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "dot_product"])
def test_a_gradient_that_breaks_in_fully_masked_rows_alone_shows(verdict, mechanism):
    found = verdict("dead_rows_leave_gradients_finite", mechanism, divides_by_the_norm_of_a_row)

    assert found.outcome == "failed"


def test_a_gradient_that_breaks_in_rows_before_every_key_shows(verdict):
    found = verdict("input_gradients_match", "scaled_dot_product", divides_by_the_norm_of_a_row)

    assert found.outcome == "failed"
    assert found.findings[0].case.options["alignment"] == "lower_right"


@pytest.mark.parametrize("check", ["dead_rows_leave_gradients_finite", "input_gradients_match"])
def test_whose_fully_masked_rows_are_nan_owes_no_finite_gradient(verdict, check):
    found = verdict(check, "scaled_dot_product", says_nan_for_a_row_of_zeros)

    assert found.outcome == ("skipped" if check.startswith("dead") else "passed")


def test_every_check_of_gradients_has_an_implementation_that_it_catches():
    assert {check.id for check in gradient.CHECKS} == {check for check, _, _ in CHANGES}
