"""Attention at length is scaled dot-product attention, block by block."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref.long import long_attention, sampled_rows
from attnref.mechanisms.scaled_dot_product import scaled_dot_product

# Sums of a few hundred products of numbers near 1 in float64: rounding stays below 1e-12.
CLOSE = {"rtol": 0.0, "atol": 1e-12}

ALIGNMENTS = ("upper_left", "lower_right")


def tensors(q_len: int, kv_len: int, *, seed: int = 0, grad: bool = False) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, q_len, 5), (2, 3, kv_len, 5), (2, 3, kv_len, 7))
    made = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    return [tensor.requires_grad_(grad) for tensor in made]


def hidden_by(valid_lens: torch.Tensor, kv_len: int) -> torch.Tensor:
    return torch.arange(kv_len) < valid_lens[:, None, None, None]


@given(
    q_len=st.integers(0, 23),
    kv_len=st.integers(0, 23),
    rows=st.integers(1, 7),
    keys=st.integers(1, 7),
    causal=st.booleans(),
    alignment=st.sampled_from(ALIGNMENTS),
    lens=st.none() | st.tuples(st.integers(0, 23), st.integers(0, 23)),
    seed=st.integers(0, 2**31),
)
def test_blocks_of_any_size_give_the_reference(q_len, kv_len, rows, keys, causal, alignment, lens, seed):
    q, k, v = tensors(q_len, kv_len, seed=seed, grad=True)
    valid_lens = None if lens is None else torch.tensor(lens)
    mask = None if valid_lens is None else hidden_by(valid_lens, kv_len)

    actual = long_attention(q, k, v, valid_lens, causal=causal, alignment=alignment, rows=rows, keys=keys)
    expected = scaled_dot_product(q, k, v, mask, causal=causal, alignment=alignment)

    weight = torch.cos(torch.arange(expected.numel(), dtype=torch.float64)).reshape(expected.shape)
    torch.testing.assert_close(actual, expected, **CLOSE)
    torch.testing.assert_close(
        torch.autograd.grad((actual * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        **CLOSE,
    )


@pytest.mark.parametrize(("causal", "alignment"), list(itertools.product((False, True), ALIGNMENTS)))
def test_gradients_are_those_of_finite_differences(causal, alignment):
    q, k, v = (tensor[:1, :2, :, :3].detach().requires_grad_() for tensor in tensors(5, 7))

    def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return long_attention(q, k, v, causal=causal, alignment=alignment, rows=2, keys=3)

    assert torch.autograd.gradcheck(call, (q, k, v))


def test_a_row_that_sees_nothing_gives_zeros_and_zero_gradients():
    q, k, v = tensors(5, 3, grad=True)

    out = long_attention(q, k, v, torch.tensor([0, 3]), causal=True, alignment="lower_right", rows=2, keys=2)
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))

    assert (out[0] == 0).all()
    assert (out[1, :, :2] == 0).all()
    assert all((gradient[0] == 0).all() for gradient in gradients)


def test_logits_of_a_thousand_do_not_overflow():
    q, k, v = tensors(11, 13)

    actual = long_attention(1000 * q, k, v, rows=3, keys=5)

    # exp doubles the error of logits near 1e4 · 1e-16 · 5 terms.
    torch.testing.assert_close(actual, scaled_dot_product(1000 * q, k, v), rtol=0.0, atol=1e-10)


@given(
    q_len=st.integers(1, 19),
    kv_len=st.integers(0, 19),
    causal=st.booleans(),
    alignment=st.sampled_from(ALIGNMENTS),
    lens=st.none() | st.tuples(st.integers(0, 19), st.integers(0, 19)),
    data=st.data(),
)
def test_sampled_rows_are_rows_of_the_reference(q_len, kv_len, causal, alignment, lens, data):
    q, k, v = tensors(q_len, kv_len)
    positions = torch.tensor(data.draw(st.lists(st.integers(0, q_len - 1), min_size=1, max_size=5)))
    valid_lens = None if lens is None else torch.tensor(lens)
    mask = None if valid_lens is None else hidden_by(valid_lens, kv_len)

    actual = sampled_rows(q, k, v, positions, valid_lens, causal=causal, alignment=alignment)

    expected = scaled_dot_product(q, k, v, mask, causal=causal, alignment=alignment)
    torch.testing.assert_close(actual, expected[:, :, positions], **CLOSE)


def test_a_position_beyond_the_queries_is_refused():
    with pytest.raises(IndexError, match="out of bounds"):
        sampled_rows(*tensors(5, 7), torch.tensor([5]))


def test_second_derivatives_are_refused():
    q, k, v = tensors(5, 7, grad=True)
    twisted = long_attention(q, k, v).square().sum()
    gradient = torch.autograd.grad(twisted, q, create_graph=True)[0]

    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
