"""Laws of skips: each is broken by something that is added to the skip, or by a gate that leaks through."""

import pytest

from attncheck.checks import residual


def adds_one(out, inputs, built):
    return out + 1


def takes_one(out, inputs, built):
    return out - 1


def squares_gamma(out, inputs, built):
    return out + built.gamma**2


def reads_the_query(out, inputs, built):
    layer = built.head.query if hasattr(built, "head") else built.query
    return out + layer.weight.sum()


def reads_the_squeeze(out, inputs, built):
    return out + built.channel.squeeze.weight.sum()


def reads_the_first_block(out, inputs, built):
    return out + built.stages[0].main[0].weight.sum()


def grows_by_a_tenth(out, inputs, built):
    return 1.1 * out


CHANGES = [
    ("zero_gamma_gives_the_input", "spatial_self", adds_one),
    ("zero_output_gives_the_input", "non_local", adds_one),
    ("zero_norm_gives_the_rectified_input", "cbam_block", adds_one),
    ("affine_in_gamma", "criss_cross", squares_gamma),
    ("output_is_not_negative", "cbam_block", takes_one),
    ("output_is_not_negative", "selective_kernel", takes_one),
    ("not_below_the_rectified_input", "cbam_block", takes_one),
    ("zero_norm_ignores_the_gates", "cbam_block", reads_the_squeeze),
    ("zero_norm_hides_the_main_path", "modified_resnet", reads_the_first_block),
    ("equal_values_hide_the_weights", "attention_pool", reads_the_query),
    ("equal_values_hide_the_weights", "channel_self", reads_the_query),
    ("equal_values_hide_the_weights", "modified_resnet", reads_the_query),
    ("equal_channels_give_uniform_weights", "channel_self", grows_by_a_tenth),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_skip_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_every_law_of_skips_has_an_implementation_that_breaks_it():
    assert {check.id for check in residual.CHECKS} == {check for check, _, _ in CHANGES}
