"""Dot-product attention with valid lengths against loops, torch's operator, and the printed mistakes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from attnref import ShapeError
from attnref.mechanisms.dot_product import dot_product

sizes = st.integers(0, 4)


def by_loops(queries, keys, values, lengths):
    """One query at a time, in Python floats; `lengths` is `batch q_len`."""
    out = torch.zeros(*queries.shape[:2], values.shape[2], dtype=torch.float64, device=queries.device)
    for b, i in ((b, i) for b in range(queries.shape[0]) for i in range(queries.shape[1])):
        seen = range(int(lengths[b, i]))
        products = [sum((queries[b, i] * keys[b, j]).tolist()) for j in seen]
        powers = [math.exp(p / math.sqrt(queries.shape[2])) for p in products]
        for j in seen:
            out[b, i] += powers[j] / sum(powers) * values[b, j]
    return out


@given(
    batch=sizes, q_len=sizes, kv_len=sizes, head_dim=st.integers(1, 5), v_dim=sizes, seed=st.integers(0, 99)
)
def test_it_is_the_weighted_mean_of_the_valid_values(
    maker, agrees, batch, q_len, kv_len, head_dim, v_dim, seed
):
    draw = maker(seed)
    q, k, v = draw(batch, q_len, head_dim), draw(batch, kv_len, head_dim), draw(batch, kv_len, v_dim)
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, kv_len + 1, (batch, q_len), generator=generator).to(q.device)

    out, weights = dot_product(q, k, v, lengths, need_weights=True)

    assert agrees(out, by_loops(q, k, v, lengths))
    assert agrees(weights.sum(-1), (lengths > 0).double())
    assert torch.equal(out, dot_product(q, k, v, lengths))


def test_values_and_gradients_are_those_of_torch(maker, agrees):
    draw = maker(0)
    inputs = [draw(2, 3, 5), draw(2, 7, 5), draw(2, 7, 11)]
    ours = [t.clone().requires_grad_() for t in inputs]
    theirs = [t.clone().requires_grad_() for t in inputs]

    out, expected = dot_product(*ours), scaled_dot_product_attention(*theirs)
    out.square().sum().backward()
    expected.square().sum().backward()

    assert agrees(out, expected)
    assert all(agrees(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, dtype):
    """AD-6, DM-5: a length of 0 included, which gives NaN in half precision elsewhere."""
    draw = maker(1)
    q, k, v = (draw(2, 3, 5).to(dtype), draw(2, 7, 5).to(dtype), draw(2, 7, 11).to(dtype))
    lengths = torch.tensor([0, 4], device=q.device)

    out = dot_product(q, k, v, lengths)

    assert out.dtype == dtype
    assert agrees(out, dot_product(q.double(), k.double(), v.double(), lengths))


def test_large_queries_and_keys_do_not_overflow_half_precision(device):
    """64 products of 60 · 60 are 230,400; scaled first they are 28,800."""
    sixty = torch.full((1, 1, 64), 60.0, dtype=torch.float16, device=device)
    assert (sixty * sixty).sum().isinf()

    assert dot_product(sixty, sixty, sixty).eq(60).all()


def test_scores_compare_queries_with_keys(maker):
    """SF-1: <q, q> scores, as the article's words have them, never look at the keys."""
    draw = maker(2)
    q, k, v = draw(2, 5, 3), draw(2, 5, 3).requires_grad_(), draw(2, 5, 7)

    dot_product(q, k, v).square().sum().backward()
    assert k.grad.abs().max() > 1e-3

    _, weights = dot_product(q, q, v, need_weights=True)
    _, right = dot_product(q, k.detach(), v, need_weights=True)
    assert not torch.allclose(weights, right)


def test_the_answer_is_a_tensor(maker):
    """DP-3: cut off at `return torch.bmm`, the printed version returns the function."""
    draw = maker(3)

    assert isinstance(dot_product(draw(2, 3, 5), draw(2, 7, 5), draw(2, 7, 11)), torch.Tensor)


@given(c=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_rescaling_and_shifting_that_the_softmax_cannot_see(maker, agrees, c, shift):
    draw = maker(4)
    q, k, v = draw(2, 3, 5), draw(2, 7, 5), draw(2, 7, 11)
    out = dot_product(q, k, v)

    assert agrees(dot_product(q * c, k / c, v), out)
    assert agrees(dot_product(q, k + shift * draw(2, 1, 5), v), out)


def test_beyond_the_length_nothing_counts(maker, agrees):
    draw = maker(5)
    q, k, v = draw(2, 3, 5), draw(2, 7, 5), draw(2, 7, 11)
    lengths = torch.full((2,), 4, device=q.device)

    assert agrees(dot_product(q, k, v, lengths), dot_product(q, k[:, :4], v[:, :4]))


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(6)
    inputs = tuple(t.requires_grad_() for t in (draw(2, 3, 5), draw(2, 4, 5), draw(2, 4, 2)))
    lengths = torch.tensor([[0, 2, 4], [1, 3, 4]], device=inputs[0].device)

    assert torch.autograd.gradcheck(lambda q, k, v: dot_product(q, k, v, lengths), inputs)


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ((2, 7, 3), (2, 7, 11), "keys has head_dim=3, but queries has 5"),
        ((1, 7, 5), (1, 7, 11), "keys has batch=1, but queries has 2"),
        ((2, 7, 5), (2, 4, 11), "values has kv_len=4, but keys has 7"),
        ((2, 7, 5), (14, 11), "values must be (batch, kv_len, v_dim), got rank 2: (14, 11)"),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, keys, values, message):
    new = torch.zeros
    with pytest.raises(ShapeError) as error:
        dot_product(new(2, 3, 5, device=device), new(keys, device=device), new(values, device=device))

    assert str(error.value) == f"dot_product: {message}"
