"""Laws of images: each is broken by an implementation that knows where it stands or sees too far."""

import pytest
import torch

from attncheck.checks import pixels


def ramps_along_columns(out, inputs, built):
    return out + 0.1 * torch.arange(out.shape[-1], dtype=out.dtype)


def ramps_along_channels(out, inputs, built):
    return out + 0.1 * torch.arange(out.shape[1], dtype=out.dtype)[:, None, None]


def sees_every_pixel(out, inputs, built):
    return out + inputs["x"].mean()


def marks_pixels(call, built, inputs, options):
    x = inputs["x"]
    return call(built, {"x": x + 0.1 * torch.arange(x.shape[-1], dtype=x.dtype)}, options)


CHANGES = [
    ("follows_pixel_order", "squeeze_excitation", ramps_along_columns),
    ("follows_pixel_order", "non_local", ramps_along_columns),
    ("follows_transposed_image", "channel_self", ramps_along_columns),
    ("follows_transposed_image_and_weight", "cbam_spatial", ramps_along_columns),
    ("follows_tiling", "spatial_self", ramps_along_columns),
    ("ignores_repeated_channels", "cbam_spatial", ramps_along_channels),
    ("ignores_zero_border", "cbam_spatial", ramps_along_columns),
    ("far_pixel_has_no_influence", "cbam_spatial", sees_every_pixel),
    ("off_cross_pixel_has_no_influence", "criss_cross", sees_every_pixel),
    ("last_odd_row_is_no_key", "spatial_self", sees_every_pixel),
    ("last_odd_row_is_no_key", "non_local", sees_every_pixel),
]
MARKED = ["zero_position_ignores_pixel_order", "ignores_pixel_order_with_positions"]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_image_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


@pytest.mark.parametrize("check", MARKED)
def test_pooling_that_marks_pixels_breaks_its_law(verdict, check):
    assert verdict(check, "attention_pool", instead=marks_pixels).outcome == "failed"


def test_every_law_of_images_has_an_implementation_that_breaks_it():
    assert {check.id for check in pixels.CHECKS} == {check for check, _, _ in CHANGES} | set(MARKED)
