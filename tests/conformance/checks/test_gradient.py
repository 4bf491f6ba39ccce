"""Gradients: right values with wrong, missing, leaking or infinite gradients are each seen."""

import pytest

from attncheck.checks import gradient


def doubles_the_gradient(out, inputs, built):
    return out + (out - out.detach())


def leaks_between_samples(out, inputs, built):
    product = out * out.roll(1, 0)
    return out + product - product.detach()


def has_an_infinite_gradient(out, inputs, built):
    return out + (out * 0).sqrt()


def stops_the_gradient(call, built, inputs, options):
    return call(built, {**inputs, "y": inputs["y"].detach()}, options)


CHANGES = [
    ("input_gradients_match", "scaled_dot_product", doubles_the_gradient),
    ("parameter_gradients_match", "cross", doubles_the_gradient),
    ("bias_gradients_match", "scaled_dot_product", doubles_the_gradient),
    ("gradients_do_not_mix", "cross", leaks_between_samples),
    ("dead_rows_leave_gradients_finite", "scaled_dot_product", has_an_infinite_gradient),
    ("dead_rows_leave_gradients_finite", "dot_product", has_an_infinite_gradient),
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


def test_every_check_of_gradients_has_an_implementation_that_it_catches():
    assert {check.id for check in gradient.CHECKS} == {check for check, _, _ in CHANGES}
