"""Masked softmax against a loop over rows, and the mistakes of the version most people copy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.masked_softmax import masked_softmax, visible_keys

LOW = [torch.float32, torch.bfloat16, torch.float16]
sizes = st.integers(0, 5)


def by_loops(scores, lengths):
    """Weights row by row, with Python's exp; `lengths` is `batch q_len`."""
    weights = torch.zeros_like(scores)
    for b in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            row = scores[b, i, : max(0, int(lengths[b, i]))].tolist()
            powers = [math.exp(s - max(row)) for s in row]
            for j, power in enumerate(powers):
                weights[b, i, j] = power / sum(powers)
    return weights


def overwriting(scores, valid_lens):
    """As printed in the source article's book: fills with -1e6, in place (MS-1, MS-2, DM-5)."""
    flat = scores.reshape(-1, scores.shape[-1])
    lengths = valid_lens.repeat_interleave(scores.shape[1])
    hidden = torch.arange(scores.shape[2], device=scores.device)[None, :] >= lengths[:, None]
    flat[hidden] = -1e6
    return torch.softmax(flat.reshape(scores.shape), dim=-1)


@given(batch=sizes, q_len=sizes, kv_len=sizes, seed=st.integers(0, 999), per_query=st.booleans())
def test_every_row_is_the_softmax_of_its_valid_keys(maker, agrees, batch, q_len, kv_len, seed, per_query):
    scores = 8 * maker(seed)(batch, q_len, kv_len)
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, q_len) if per_query else (batch,)
    lengths = torch.randint(-1, kv_len + 3, shape, generator=generator)

    weights = masked_softmax(scores, lengths.to(scores.device))

    all_lengths = lengths if per_query else lengths[:, None].expand(batch, q_len)
    assert agrees(weights, by_loops(scores, all_lengths))


@given(batch=sizes, q_len=sizes, kv_len=sizes)
def test_without_lengths_it_is_torch_softmax(maker, agrees, batch, q_len, kv_len):
    scores = maker(0)(batch, q_len, kv_len)

    assert agrees(masked_softmax(scores), torch.softmax(scores, -1))
    full = torch.full((batch,), kv_len, device=scores.device)
    assert torch.equal(masked_softmax(scores, full), masked_softmax(scores))


@pytest.mark.parametrize("dtype", LOW)
def test_a_row_of_length_zero_gives_zeros_in_low_precision(maker, agrees, dtype):
    scores = maker(1)(2, 3, 5).to(dtype)
    lengths = torch.tensor([0, 4], device=scores.device)

    weights = masked_softmax(scores, lengths)

    assert weights.dtype == dtype
    assert not weights[0].any()
    assert agrees(weights, masked_softmax(scores.double(), lengths))


def test_a_row_of_length_zero_of_the_printed_version_is_not_zero(maker):
    """DM-5: the article's version spreads it evenly, and gives NaN in half precision."""
    scores, lengths = maker(1)(2, 3, 5), torch.tensor([0, 4])

    printed = overwriting(scores.cpu().clone(), lengths)
    half = overwriting(scores.cpu().half(), lengths)

    assert torch.equal(printed[0], torch.full((3, 5), 0.2, dtype=torch.float64))
    assert half[0].isnan().all()


def test_a_row_of_length_zero_has_zero_gradient(maker):
    scores = maker(2)(2, 3, 5).requires_grad_()

    masked_softmax(scores, torch.tensor([0, 4], device=scores.device)).square().sum().backward()

    assert not scores.grad[0].any()
    assert scores.grad[1, :, :4].all()
    assert not scores.grad[1, :, 4].any()


def test_nan_and_infinity_behind_the_mask_stay_there(maker):
    scores = maker(3)(2, 3, 5)
    lengths = torch.tensor([2, 3], device=scores.device)
    poisoned = scores.clone()
    poisoned[:, :, 3], poisoned[:, :, 4] = math.nan, math.inf
    poisoned.requires_grad_()

    weights = masked_softmax(poisoned, lengths)
    weights.square().sum().backward()

    assert torch.equal(weights, masked_softmax(scores, lengths))
    assert poisoned.grad.isfinite().all()


def test_the_scores_are_never_written_to(maker):
    """MS-1: the printed version writes into contiguous scores."""
    scores, lengths = maker(4)(2, 3, 5), torch.tensor([2, 4])
    before = scores.clone()

    masked_softmax(scores, lengths.to(scores.device))
    assert torch.equal(scores, before)

    printed = before.cpu().clone()
    overwriting(printed, lengths)
    assert not torch.equal(printed, before.cpu())


def test_a_very_low_score_still_beats_a_masked_one(device):
    """MS-2: at -2e6 the printed version gives everything to the masked key."""
    scores = torch.tensor([[[-2e6, 5.0]]], dtype=torch.float64, device=device)

    assert masked_softmax(scores, torch.tensor([1], device=device)).tolist() == [[[1.0, 0.0]]]
    assert overwriting(scores.cpu(), torch.tensor([1])).tolist() == [[[0.0, 1.0]]]


def test_lengths_belong_to_samples_in_the_order_of_samples(maker, agrees):
    """DM-6: repeating lengths as ABAB instead of AABB mixes samples, unless all are equal."""
    scores = maker(5)(2, 3, 5)

    for lengths, differs in (([2, 4], True), ([3, 3], False)):
        valid = torch.tensor(lengths, device=scores.device)
        abab = masked_softmax(scores.reshape(6, 1, 5), valid.repeat(3)).reshape(2, 3, 5)
        assert agrees(abab, masked_softmax(scores, valid)) is not differs


@given(batch=st.integers(1, 4), q_len=st.integers(1, 4), kv_len=st.integers(1, 5), shift=st.floats(-50, 50))
def test_a_constant_added_to_a_row_changes_nothing(maker, agrees, batch, q_len, kv_len, shift):
    scores = maker(6)(batch, q_len, kv_len)
    lengths = torch.arange(batch, device=scores.device)

    assert agrees(masked_softmax(scores + shift, lengths), masked_softmax(scores, lengths))


def test_gradients_are_those_of_finite_differences(maker):
    scores = maker(7)(2, 3, 5).requires_grad_()
    lengths = torch.tensor([[0, 2, 5], [1, 3, 4]], device=scores.device)

    assert torch.autograd.gradcheck(lambda s: masked_softmax(s, lengths), (scores,))


def test_visible_keys_of_two_samples_by_hand(device):
    visible = visible_keys(torch.tensor([1, 2], device=device), 3)

    assert visible.tolist() == [[[True, False, False]], [[True, True, False]]]


@pytest.mark.parametrize(
    ("scores", "lengths", "message"),
    [
        ((2, 3, 5), torch.zeros(3, dtype=torch.long), "valid_lens has batch=3, but scores has 2"),
        ((2, 3, 5), torch.zeros(2, 4, dtype=torch.long), "valid_lens has q_len=4, but scores has 3"),
        ((2, 3, 5), torch.zeros(2), "valid_lens must hold int values, got torch.float32"),
        ((3, 5), None, "scores must be (batch, q_len, kv_len), got rank 2: (3, 5)"),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, scores, lengths, message):
    """MS-3: a length of 2.5 keys is refused, not rounded."""
    with pytest.raises(ShapeError) as error:
        masked_softmax(torch.zeros(scores, device=device), lengths if lengths is None else lengths.to(device))

    assert str(error.value) == f"masked_softmax: {message}"
