"""Shapes: a size that is not supported, a wrong shape, dtype or device are each caught."""

import pytest
import torch

from attncheck.checks import shape


def fails_for_one_key(call, built, inputs, options):
    if inputs["y"].shape[1] == 1:
        raise IndexError("index 1 is out of bounds")
    return call(built, inputs, options)


def swaps_its_axes(out, inputs, built):
    return out.transpose(-1, -2)


def answers_in_float64(out, inputs, built):
    return out.double()


def answers_elsewhere(out, inputs, built):
    return out.to("meta")


def fills_with_a_number(call, built, inputs, options):
    if "mask" in inputs:
        inputs["q"].masked_fill(torch.tensor(True), -1e9)
    return call(built, inputs, options)


CHANGES = [
    ("output_has_the_right_shape", swaps_its_axes),
    ("output_keeps_the_dtype", answers_in_float64),
    ("output_stays_on_the_device", answers_elsewhere),
]


@pytest.mark.parametrize(("check", "change"), CHANGES)
def test_a_wrong_shape_dtype_or_device_is_caught(verdict, check, change):
    assert verdict(check, "cross", change).outcome == "failed"


def test_a_legal_size_that_crashes_is_caught(verdict):
    found = verdict("runs_at_every_legal_size", "cross", instead=fails_for_one_key)

    assert found.outcome == "failed"
    assert found.findings[0].kind == "raises IndexError"
    assert found.findings[0].case.sizes["kv_len"] == 1


def test_a_fill_that_float16_does_not_hold_is_told_of_and_fails_nothing(verdict):
    found = verdict("masks_work_in_float16", "scaled_dot_product", instead=fills_with_a_number)

    assert found.outcome == "deviates"
    assert "without overflow" in found.findings[0].actual
    assert verdict("masks_work_in_float16", "scaled_dot_product").outcome == "passed"
    assert (
        verdict("output_keeps_the_dtype", "scaled_dot_product", instead=fills_with_a_number).outcome
        == "passed"
    )


def test_every_check_of_shapes_has_an_implementation_that_it_catches():
    assert {check.id for check in shape.CHECKS} == {check for check, _ in CHANGES} | {
        "runs_at_every_legal_size",
        "masks_work_in_float16",
    }
