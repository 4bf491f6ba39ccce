"""Right values: a small error, a lower precision inside and wrong weights are each seen by one check."""

import pytest
import torch

from attncheck.checks import value
from attncheck.checks.check import NotJudged
from attncheck.checks.value import within_budget


def is_off_by_a_thousandth(out, inputs, built):
    return out * 1.001


def rounds_to_float32(out, inputs, built):
    return out.float().to(out.dtype)


def rounds_float32_to_bfloat16(out, inputs, built):
    return out.bfloat16().float() if out.dtype == torch.float32 else out


def loses_a_tenth_in_half_precision(out, inputs, built):
    return out * 0.9 if out.dtype in (torch.bfloat16, torch.float16) else out


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "cbam_block", "non_local"])
def test_an_error_of_a_thousandth_is_no_reference(verdict, mechanism):
    assert verdict("matches_the_reference", mechanism, is_off_by_a_thousandth).outcome == "failed"


def test_an_output_that_passed_through_float32_deviates(verdict):
    assert verdict("keeps_float64_precision", "cross", rounds_to_float32).outcome == "deviates"
    assert verdict("matches_the_reference", "cross", rounds_to_float32).outcome == "passed"


def test_float32_that_is_only_as_good_as_bfloat16_fails(verdict):
    assert verdict("keeps_float32_precision", "multi_head", rounds_float32_to_bfloat16).outcome == "failed"


def test_half_precision_that_loses_a_tenth_fails(verdict):
    assert verdict("keeps_half_precision", "multi_head", loses_a_tenth_in_half_precision).outcome == "failed"


def test_weights_that_are_not_those_of_the_output_fail(verdict):
    def returns_flat_weights(call, built, inputs, options):
        results = call(built, inputs, options)
        return {n: t * 0 + 1 / t.shape[-1] if n == "weights" else t for n, t in results.items()}

    assert verdict("weights_match_the_reference", "cross", instead=returns_flat_weights).outcome == "failed"


def test_the_budget_of_a_precision_is_a_few_of_its_roundings():
    """Three times the reference's own error, and 16 roundings of the largest value, 2^-8 each in bfloat16."""
    truth = torch.ones(3, dtype=torch.float64)
    exact = truth.to(torch.bfloat16)

    assert within_budget(exact * 1.0625, exact, truth) is None
    assert within_budget(exact * 1.07, exact, truth) is not None


def test_where_the_reference_itself_is_lost_nobody_is_judged():
    """A value that cancels to a hundredth of its terms: float32's own error is beyond 64 roundings of it."""
    truth = torch.tensor([1.0], dtype=torch.float64)
    lost = (truth + 1e-4).float()

    assert isinstance(within_budget((truth + 2e-4).float(), lost, truth), NotJudged)
    assert within_budget(truth.float(), lost, truth) is None


def test_a_bias_that_is_forgotten_shows(verdict):
    def forgets_the_bias(call, built, inputs, options):
        return call(built, {n: t for n, t in inputs.items() if n != "bias"}, options)

    assert verdict("adds_its_bias", "scaled_dot_product", instead=forgets_the_bias).outcome == "failed"


def test_every_check_of_values_is_tested_here():
    assert {check.id for check in value.CHECKS} == {
        "matches_the_reference",
        "weights_match_the_reference",
        "keeps_float64_precision",
        "keeps_float32_precision",
        "keeps_half_precision",
        "adds_its_bias",
    }
