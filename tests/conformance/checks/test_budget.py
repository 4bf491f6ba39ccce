"""Low precision: an error is held against the reference's own, and against what a rounding of the inputs does."""

from dataclasses import replace

import torch

from attncheck.checks.budget import moved_by_rounding, within_budget
from attncheck.checks.check import Mismatch, NotJudged
from attncheck.checks.oracle import expect, in_float64


def test_the_budget_of_a_precision_is_a_few_of_its_roundings():
    """Three times the reference's own error, and 16 roundings of the largest value, 2^-8 each in bfloat16."""
    truth = torch.ones(3, dtype=torch.float64)
    exact = truth.to(torch.bfloat16)

    assert within_budget(exact * 1.0625, exact, truth) is None
    assert within_budget(exact * 1.07, exact, truth) is not None


def beside_one(roundings):
    """One, and a half that is off by some roundings of one, in float32."""
    return torch.tensor([1.0, 0.5], dtype=torch.float64).add(torch.tensor([0, roundings * 2.0**-24])).float()


def test_the_budget_grows_with_the_error_of_the_reference_up_to_64_roundings():
    truth = beside_one(0).double()

    # 3 · 8 + 16 and 3 · 64 + 16.
    assert within_budget(beside_one(40), beside_one(8), truth) is None
    assert isinstance(within_budget(beside_one(41), beside_one(8), truth), Mismatch)
    assert within_budget(beside_one(208), beside_one(64), truth) is None
    assert isinstance(within_budget(beside_one(209), beside_one(64), truth), Mismatch)
    assert isinstance(within_budget(beside_one(209), beside_one(65), truth), NotJudged)


def test_where_the_reference_itself_is_lost_nobody_is_judged():
    """A value that cancels to a hundredth of its terms: float32's own error is beyond 64 roundings of it."""
    truth = torch.tensor([1.0], dtype=torch.float64)
    lost = (truth + 1e-4).float()

    assert isinstance(within_budget((truth + 2e-4).float(), lost, truth), NotJudged)
    assert within_budget(truth.float(), lost, truth) is None


def test_a_result_of_another_shape_is_no_matter_of_precision():
    found = within_budget(torch.ones(3, 1), torch.ones(3), torch.ones(3, dtype=torch.float64))

    assert isinstance(found, Mismatch)
    assert found.kind == "wrong shape"


def test_what_a_rounding_of_the_inputs_does_to_the_truth_is_allowed_as_well():
    """The reference may be right by luck; the error of others is that of inputs that were rounded once more."""
    truth = beside_one(0).double()

    assert isinstance(within_budget(beside_one(40), truth.float(), truth), Mismatch)
    assert within_budget(beside_one(40), truth.float(), truth, moved=lambda: 24 * 2.0**-24) is None
    assert isinstance(
        within_budget(beside_one(41), truth.float(), truth, moved=lambda: 24 * 2.0**-24), Mismatch
    )
    assert isinstance(within_budget(beside_one(209), truth.float(), truth, moved=lambda: 1.0), NotJudged)


def test_the_truth_moves_by_some_roundings_and_by_more_where_values_cancel(subject_of, case_of):
    subject, case = subject_of("kernel_regression"), case_of("kernel_regression", seed=3)
    ask = subject.ask(replace(case, dtype="bfloat16"))
    level = ask.edit("values", "absolute")

    def moved(asked):
        return moved_by_rounding(subject, asked, torch.bfloat16, expect(subject, in_float64(asked)).out)

    assert 2.0**-10 < moved(level) < 2.0**-4
    assert moved(ask) > moved(level)
