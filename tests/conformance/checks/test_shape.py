"""Shapes: a size that is not supported, a wrong shape, dtype or device are each caught."""

from dataclasses import replace

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


def knows_no_float16(call, built, inputs, options):
    if inputs["q"].dtype == torch.float16:
        raise RuntimeError("this kernel takes float32 and float64")
    return call(built, inputs, options)


def refuses(module):
    raise ValueError("not these sizes")


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


def test_a_constructor_may_refuse_any_sizes_but_those_it_was_seen_to_accept(verdict, case_of):
    base, wider = case_of("cross"), case_of("cross", query_size=case_of("cross").sizes["query_size"] + 1)
    refused = {"built": refuses, "given": [wider]}

    assert verdict("runs_at_every_legal_size", "cross", built=refuses, given=[base]).outcome == "failed"
    for check in ("runs_at_every_legal_size", "output_keeps_the_dtype"):
        found = verdict(check, "cross", **refused)
        assert (found.outcome, "the constructor refuses" in found.reason) == ("skipped", True)
    # Where it is known what is refused, sizes to begin with are no promise.
    ruled = {"refuses": ("query_size > 1000",)}
    assert (
        verdict("runs_at_every_legal_size", "cross", built=refuses, given=[base], interface=ruled).outcome
        == "skipped"
    )


def test_sizes_that_were_guessed_at_without_weights_that_show_them_accuse_nobody(verdict, case_of):
    def raises(call, built, inputs, options):
        raise RuntimeError("sizes differ")

    base = case_of("cross")
    other = case_of("cross", query_size=base.sizes["query_size"] + 1)
    unmatched = {"interface": {"loads": False}, "instead": raises}

    for check in ("runs_at_every_legal_size", "output_keeps_the_dtype"):
        assert verdict(check, "cross", given=[base], **unmatched).outcome == "failed"
        found = verdict(check, "cross", given=[other], **unmatched)
        assert (found.outcome, "it is not known how its sizes follow" in found.reason) == ("skipped", True)


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        ("cross", "(batch, q_len, v_dim)"),
        ("non_local", "(batch, channels, "),
        ("cbam_block", "(batch, out_channels, ("),
    ],
)
def test_an_output_of_another_rank_has_the_wrong_shape(verdict, mechanism, expected):
    found = verdict("output_has_the_right_shape", mechanism, lambda out, inputs, built: out.flatten(1))

    assert found.outcome == "failed"
    assert found.findings[0].expected.startswith(expected)


def test_a_result_in_float16_is_asked_for_with_a_mask_where_one_is_taken(verdict, subject_of):
    masks = set()

    def sees(call, built, inputs, options):
        masks.add("mask" in inputs)
        return call(built, inputs, options)

    verdict("output_keeps_the_dtype", "scaled_dot_product", instead=sees)
    assert masks == {True, False}
    masks.clear()
    verdict("output_keeps_the_dtype", "squeeze_excitation", instead=sees)
    assert masks == {False}
    assert "mask" in shape.masks_work_in_float16.applies(subject_of("squeeze_excitation"))
    single = replace(subject_of("scaled_dot_product"), dtypes=("float32",))
    assert shape.masks_work_in_float16.applies(single) == "float16 was not asked for"


def test_masks_in_low_precision_are_of_a_kind_that_the_target_takes(verdict):
    masks = []

    def sees(call, built, inputs, options):
        masks.extend([inputs["mask"]] if "mask" in inputs else [])
        return call(built, inputs, options)

    padding = {"maskings": ("padding_mask",)}
    for check in ("output_keeps_the_dtype", "masks_work_in_float16"):
        verdict(check, "scaled_dot_product", instead=sees, interface=padding)

    assert masks
    # A key is hidden from all queries or from none.
    assert all(bool((mask == mask[..., :1, :]).all()) for mask in masks)


def test_a_fill_that_float16_does_not_hold_is_told_of_and_fails_nothing(verdict):
    found = verdict("masks_work_in_float16", "scaled_dot_product", instead=fills_with_a_number)

    assert found.outcome == "deviates"
    assert "without overflow" in found.findings[0].actual
    assert verdict("masks_work_in_float16", "scaled_dot_product").outcome == "passed"
    assert (
        verdict("output_keeps_the_dtype", "scaled_dot_product", instead=fills_with_a_number).outcome
        == "passed"
    )


def test_no_result_in_float16_at_all_says_nothing_of_the_fill(verdict):
    found = verdict("masks_work_in_float16", "scaled_dot_product", instead=knows_no_float16)

    assert found.outcome == "skipped"
    assert "this kernel takes float32 and float64" in found.reason
    without = verdict("output_keeps_the_dtype", "scaled_dot_product", instead=knows_no_float16)
    assert (without.outcome, without.findings[0].kind) == ("failed", "raises in float16")


def test_an_operator_that_torch_lacks_in_half_precision_is_told_of_and_fails_nothing(verdict):
    def measures_by_cdist(call, built, inputs, options):
        torch.cdist(inputs["queries"][:, None], inputs["queries"][:, None])
        return call(built, inputs, options)

    found = verdict("operators_exist_in_half_precision", "kernel_regression", instead=measures_by_cdist)

    assert found.outcome == "deviates"
    assert "not implemented for 'BFloat16'" in found.findings[0].actual
    assert verdict("operators_exist_in_half_precision", "kernel_regression").outcome == "passed"
    others = verdict("output_keeps_the_dtype", "kernel_regression", instead=measures_by_cdist)
    assert others.outcome == "passed"


def test_half_precision_that_was_not_asked_for_is_skipped_with_the_reason(subject_of):
    single = replace(subject_of("cross"), dtypes=("float64", "float32"))

    assert shape.operators_exist_in_half_precision.applies(single) == "half precision was not asked for"


def test_every_check_of_shapes_has_an_implementation_that_it_catches():
    assert {check.id for check in shape.CHECKS} == {check for check, _ in CHANGES} | {
        "runs_at_every_legal_size",
        "masks_work_in_float16",
        "operators_exist_in_half_precision",
    }
