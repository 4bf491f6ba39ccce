"""The traps of comparing numbers, each as a test of the rule that avoids it or of its stated limit."""

import torch

from attncheck.checks.check import Mismatch, NotJudged
from attncheck.checks.comparing import agree
from attncheck.checks.value import within_budget
from attncheck.strategies.tolerance import PRECISE, RIGHT, ROUNDOFF, difference

NAN = float("nan")


def test_nan_never_equals_a_number() -> None:
    actual, expected = torch.tensor([1.0, NAN]), torch.tensor([1.0, 1.0])

    assert difference(actual, expected).gap > 1e100
    assert difference(expected, actual).gap > 1e100
    assert isinstance(agree(actual, expected), Mismatch)


def test_infinity_equals_only_itself() -> None:
    finite, infinite = torch.tensor([1.0, 2.0]), torch.tensor([1.0, float("inf")])

    assert difference(finite, infinite).gap > 1e100
    assert difference(-infinite, infinite).gap > 1e100
    assert difference(infinite, infinite).gap == 0


def test_zeros_do_not_pass_for_values() -> None:
    values = torch.rand(5, 7, dtype=torch.float64)

    for dtype in ROUNDOFF:
        low = values.to(dtype)
        judgement = within_budget(torch.zeros_like(low), low, values)
        assert isinstance(judgement, Mismatch), dtype


def test_a_reference_that_is_exact_by_luck_leaves_room_for_a_rounding() -> None:
    """With one key the softmax is one, so a rule relative to the reference's error allows nothing."""
    truth = torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64)
    for dtype, unit in ROUNDOFF.items():
        exact = truth.to(dtype)
        one_off = (truth * (1 + 2 * unit)).to(dtype)

        assert difference(exact, truth).gap == 0
        assert difference(one_off, truth).gap > 0
        assert within_budget(one_off, exact, truth) is None


def test_a_reference_that_is_far_off_is_no_measure() -> None:
    truth = torch.ones(3, dtype=torch.float64)
    unit = ROUNDOFF[torch.float32]
    far = (truth * (1 + 1000 * unit)).float()
    farther = (truth * (1 + 5000 * unit)).float()

    assert isinstance(within_budget(farther, far, truth), NotJudged)


def test_torchs_own_operator_passes_where_twice_the_error_would_fail_it(device: torch.device) -> None:
    """33 queries of 16 features in float32: on some seed it is off by more than the reference."""
    ratios = []
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        q, k, v = (
            torch.randn(2, 3, 33, 16, dtype=torch.float64, generator=generator).to(device) for _ in range(3)
        )
        truth = _naive(q, k, v)
        like = _naive(q.float(), k.float(), v.float())
        fused = torch.nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float())

        assert within_budget(fused, like, truth) is None
        ratios.append(difference(fused, truth).gap / difference(like, truth).gap)
    assert max(ratios) > 1, "else this seed range shows nothing"


def _naive(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v


def test_one_large_value_hides_small_ones_in_low_precision_but_not_in_float64() -> None:
    """A stated limit of the budget, and why right values are judged in float64."""
    truth = torch.tensor([1000.0, 1.0, 1.0], dtype=torch.float64)
    wrong = torch.tensor([1000.0, 0.0, 0.0], dtype=torch.float64)

    low = truth.bfloat16()
    assert within_budget(wrong.bfloat16(), low, truth) is None
    assert isinstance(agree(wrong, truth), Mismatch)


def test_float32_inside_float64_is_right_but_not_precise() -> None:
    truth = torch.rand(11, 13, dtype=torch.float64)
    rounded = truth.float().double()

    assert agree(rounded, truth, tolerance=RIGHT) is None
    assert isinstance(agree(rounded, truth, tolerance=PRECISE), Mismatch)


def test_an_empty_result_equals_an_empty_one() -> None:
    assert difference(torch.zeros(0, 3), torch.zeros(0, 3)).gap == 0


def test_a_result_of_another_shape_is_never_compared_by_broadcasting() -> None:
    judgement = agree(torch.ones(1, 3), torch.ones(2, 3))

    assert isinstance(judgement, Mismatch)
    assert judgement.kind == "wrong shape"
