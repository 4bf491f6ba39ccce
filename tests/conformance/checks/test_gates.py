"""Laws of gates: each is broken by a gate that is too large, sees something else, or sees nothing."""

import pytest
import torch

from attncheck.checks import gates
from attncheck.checks.check import Mismatch
from attncheck.strategies.tolerance import RIGHT


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
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_a_wrong_gate_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_a_gate_of_nothing_but_ones_is_no_gate(verdict):
    assert verdict(
        "gate_is_between_zero_and_one", "squeeze_excitation", lambda out, inputs, built: inputs["x"] * 1
    ).findings


SHAPED = [
    ("keeps_sign", "cbam_channel"),
    ("gate_is_constant_over_space", "cbam_channel"),
    ("gate_sees_only_mean_and_maximum", "cbam_channel"),
    ("gate_depends_on_the_maximum", "cbam_channel"),
    ("gate_depends_on_the_maximum", "cbam_spatial"),
]


@pytest.mark.parametrize(("check", "mechanism"), SHAPED)
def test_a_gate_of_another_shape_is_not_judged(verdict, check, mechanism):
    found = verdict(check, mechanism, lambda out, inputs, built: out.flatten(1))

    assert found.outcome == "skipped"
    assert "the output has another shape" in found.reason


@pytest.mark.parametrize("check", ["gate_depends_on_the_input", "gate_depends_on_the_maximum"])
def test_an_empty_batch_has_no_gate_that_could_depend_on_it(verdict, case_of, check):
    assert verdict(check, "cbam_channel", given=[case_of("cbam_channel", batch=0)]).outcome == "skipped"


@pytest.mark.parametrize("bound", [0.1, 100.0])
def test_a_bound_is_reached_within_the_tolerance_of_right_values(bound):
    """Relative to the largest bound, or to one."""
    wanted = torch.tensor([bound, -bound], dtype=torch.float64)
    allowed = RIGHT * max(1.0, bound)

    assert gates.at_least(wanted - 0.99 * allowed, wanted, "a bound") is None
    assert isinstance(gates.at_least(wanted - 1.01 * allowed, wanted, "a bound"), Mismatch)
    assert isinstance(gates.at_least(wanted * float("nan"), wanted, "a bound"), Mismatch)
    assert gates.at_least(wanted[:0], wanted[:0], "a bound") is None


def test_a_bound_of_another_shape_is_not_reached():
    found = gates.at_least(torch.ones(3, 1), torch.zeros(3), "a bound")

    assert isinstance(found, Mismatch)
    assert found.kind == "wrong shape"


def test_every_law_of_gates_has_an_implementation_that_breaks_it():
    assert {check.id for check in gates.CHECKS} == {check for check, _, _ in CHANGES}


def test_a_wide_gate_is_not_driven_to_its_end(verdict, case_of):
    wide = [case_of("cbam_channel", seed, batch=1, channels=129, reduction=1) for seed in range(4)]

    assert verdict("gate_depends_on_the_input", "cbam_channel", given=wide).outcome == "passed"
