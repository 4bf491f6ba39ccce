"""Laws of gates: each is broken by a gate that is too large, sees something else, or sees nothing."""

import pytest
import torch

from attncheck.checks import gates


def is_larger(out, inputs, built):
    return 3 * out


def is_turned(out, inputs, built):
    return -out


def adds_one(out, inputs, built):
    return out + 1


def grows_along_columns(out, inputs, built):
    return out * (1 + 0.1 * torch.arange(out.shape[-1], dtype=out.dtype))


def grows_along_channels(out, inputs, built):
    return out * (1 + 0.1 * torch.arange(out.shape[1], dtype=out.dtype)[:, None, None])


def sees_the_least(out, inputs, built):
    return out * torch.sigmoid(inputs["x"].amin((2, 3), keepdim=True))


def sees_nothing(out, inputs, built):
    return inputs["x"] / 2


def sees_the_mean_alone(out, inputs, built):
    axes = (2, 3) if hasattr(built, "squeeze") else (1,)
    return inputs["x"] * torch.sigmoid(inputs["x"].mean(axes, keepdim=True))


def loses_a_tenth(out, inputs, built):
    return 0.9 * out


def reads_one_excite(out, inputs, built):
    return out + built.excite[0].weight.sum()


def reads_the_squeeze(out, inputs, built):
    return out + built.squeeze.weight.sum()


CHANGES = [
    ("gate_is_between_zero_and_one", "squeeze_excitation", is_larger),
    ("gate_is_between_zero_and_one", "cbam_spatial", is_turned),
    ("keeps_sign", "cbam_channel", is_turned),
    ("zero_input_gives_zero", "squeeze_excitation", adds_one),
    ("gate_is_constant_over_space", "cbam_channel", grows_along_columns),
    ("gate_is_constant_over_channels", "cbam_spatial", grows_along_channels),
    ("gate_sees_only_the_mean", "squeeze_excitation", sees_the_least),
    ("gate_sees_only_mean_and_maximum", "cbam_channel", sees_the_least),
    ("gate_depends_on_the_input", "squeeze_excitation", sees_nothing),
    ("gate_depends_on_the_maximum", "cbam_channel", sees_the_mean_alone),
    ("gate_depends_on_the_maximum", "cbam_spatial", sees_the_mean_alone),
    ("equal_branches_give_their_value", "selective_kernel", loses_a_tenth),
    ("zero_excite_adds_up_branches", "selective_kernel", adds_one),
    ("ignores_common_branch_logits", "selective_kernel", reads_one_excite),
    ("one_branch_ignores_the_gate", "selective_kernel", reads_the_squeeze),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_gate_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_a_gate_of_nothing_but_ones_is_no_gate(verdict):
    assert verdict(
        "gate_is_between_zero_and_one", "squeeze_excitation", lambda out, inputs, built: inputs["x"] * 1
    ).findings


def test_every_law_of_gates_has_an_implementation_that_breaks_it():
    assert {check.id for check in gates.CHECKS} == {check for check, _, _ in CHANGES}
