"""Scaled dot-product attention against loops and against torch's operator, values and gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from attnref import ShapeError
from attnref.mechanisms.scaled_dot_product import causal_mask, scaled_dot_product, softmax_or_zeros

sizes = st.integers(0, 3)


def by_loops(q, k, v, mask, bias, causal, alignment, scale, soft_cap):
    """One query and one key at a time, in Python floats; mask and bias have every axis."""
    out = torch.zeros(*q.shape[:3], v.shape[3], dtype=torch.float64, device=q.device)
    start = k.shape[2] - q.shape[2] if alignment == "lower_right" else 0
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        powers = {}
        for j in range(k.shape[2]):
            if not mask[b, h, i, j] or (causal and j > i + start):
                continue
            logit = sum((q[b, h, i] * k[b, h, j]).tolist()) * (scale or q.shape[3] ** -0.5)
            logit = soft_cap * math.tanh(logit / soft_cap) if soft_cap else logit
            powers[j] = math.exp(logit + float(bias[b, h, i, j]))
        for j, power in powers.items():
            out[b, h, i] += power / sum(powers.values()) * v[b, h, j]
    return out


@pytest.mark.parametrize("soft_cap", [None, 2.0])
@pytest.mark.parametrize(
    ("causal", "alignment"), [(False, "upper_left"), (True, "upper_left"), (True, "lower_right")]
)
@given(
    batch=sizes, heads=st.integers(1, 3), q_len=sizes, kv_len=sizes, head_dim=st.integers(1, 4), v_dim=sizes,
    seed=st.integers(0, 99), scale=st.sampled_from([None, 0.3]),
    with_mask=st.booleans(), with_bias=st.booleans(),
)  # fmt: skip
def test_it_is_the_weighted_mean_of_the_visible_values(
    maker, agrees, batch, heads, q_len, kv_len, head_dim, v_dim, seed, causal, alignment, scale, soft_cap,
    with_mask, with_bias,
):  # fmt: skip
    draw = maker(seed)
    q, k = draw(batch, heads, q_len, head_dim), draw(batch, heads, kv_len, head_dim)
    v, noise = draw(batch, heads, kv_len, v_dim), draw(batch, heads, q_len, kv_len)
    mask = noise > -0.3 if with_mask else torch.ones_like(noise, dtype=torch.bool)
    bias = noise if with_bias else torch.zeros_like(noise)

    out, weights = scaled_dot_product(
        q, k, v, mask if with_mask else None, bias if with_bias else None, causal=causal,
        alignment=alignment, scale=scale, soft_cap=soft_cap, need_weights=True,
    )  # fmt: skip

    assert agrees(out, by_loops(q, k, v, mask, bias, causal, alignment, scale, soft_cap))
    assert agrees(weights.sum(-1), (weights > 0).any(-1).double())


def example(maker, seed=0):
    draw = maker(seed)
    return draw(2, 3, 5, 7), draw(2, 3, 11, 7), draw(2, 3, 11, 13)


@pytest.mark.parametrize("kind", ["plain", "mask", "bias", "causal", "scale"])
def test_values_and_gradients_are_those_of_torch(maker, agrees, kind):
    inputs = example(maker)
    noise = maker(1)(2, 3, 5, 11)
    ours = [t.clone().requires_grad_() for t in inputs]
    theirs = [t.clone().requires_grad_() for t in inputs]
    our_way, their_way = {
        "plain": ({}, {}),
        "mask": ({"mask": noise > 0}, {"attn_mask": noise > 0}),
        "bias": ({"bias": noise}, {"attn_mask": noise}),
        "causal": ({"causal": True}, {"is_causal": True}),
        "scale": ({"scale": 0.3}, {"scale": 0.3}),
    }[kind]

    out, expected = scaled_dot_product(*ours, **our_way), scaled_dot_product_attention(*theirs, **their_way)
    out.square().sum().backward()
    expected.square().sum().backward()

    assert agrees(out, expected)
    assert all(agrees(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_works_in_low_precision(maker, agrees, dtype):
    """MH-1: filling with -1e9 does not fit float16."""
    low = [t.to(dtype) for t in example(maker)]
    mask = maker(2)(1, 1, 5, 11) > 0
    mask[..., 0, :] = False
    if dtype == torch.float16:
        with pytest.raises(RuntimeError, match="without overflow"):
            torch.zeros(2, dtype=dtype).masked_fill(torch.tensor([True, False]), -1e9)

    out = scaled_dot_product(*low, mask)

    assert out.dtype == dtype
    assert agrees(out, scaled_dot_product(*(t.double() for t in low), mask))


def test_a_fully_masked_row_gives_zeros_and_zero_gradients(maker):
    """MH-2: filled with -1e9 the row averages what it must not see."""
    q, k, v = (t.requires_grad_() for t in example(maker))
    mask = torch.ones(1, 1, 5, 11, dtype=torch.bool, device=q.device)
    mask[..., 2, :] = False

    out = scaled_dot_product(q, k, v, mask)
    out.square().sum().backward()
    filled = torch.softmax((q @ k.mT).masked_fill(~mask, -1e9), -1) @ v

    assert not out[:, :, 2].any()
    assert not q.grad[:, :, 2].any()
    assert all(t.grad.isfinite().all() for t in (q, k, v))
    assert filled[:, :, 2].any()


def test_a_row_whose_bias_is_minus_infinity_gives_zeros_and_zero_gradients(maker):
    """Unlike a mask, a bias does not stop a NaN gradient on its way back to q and k."""
    q, k, v = (t.requires_grad_() for t in example(maker))
    bias = torch.zeros(1, 1, 5, 11, dtype=torch.float64, device=q.device)
    bias[..., 2, :] = -math.inf

    out = scaled_dot_product(q, k, v, bias=bias)
    out.square().sum().backward()

    assert not out[:, :, 2].any()
    assert not q.grad[:, :, 2].any()
    assert all(t.grad.isfinite().all() for t in (q, k, v))


def test_a_masked_key_loses_to_any_score(device):
    """MH-8: scores below -1e9 lose to a fill of -1e9."""
    q, k = torch.tensor([[[[1e10]]]], device=device).double(), torch.tensor([[[[-1.0], [1.0]]]]).double()
    mask = torch.tensor([[[[True, False]]]], device=device)

    _, weights = scaled_dot_product(q, k.to(device), k.to(device), mask, need_weights=True)

    assert weights.tolist() == [[[[1.0, 0.0]]]]
    filled = torch.softmax((q @ k.to(device).mT).masked_fill(~mask, -1e9), -1)
    assert filled.tolist() == [[[[0.0, 1.0]]]]


def test_the_scale_is_as_exact_as_the_dtype(maker, agrees):
    """MH-6: the root of 7 taken in float32 costs float64 half its digits."""
    q, k, v = example(maker)

    coarse = scaled_dot_product(q, k, v, scale=1 / torch.tensor(7.0).sqrt().item())
    assert not torch.allclose(coarse, scaled_dot_product(q, k, v), rtol=0, atol=1e-10)
    assert agrees(scaled_dot_product(q, k, v), torch.softmax(q @ k.mT / math.sqrt(7), -1) @ v)


def test_causal_masks_of_three_queries_and_five_keys_by_hand():
    rows = {"upper_left": [1, 2, 3], "lower_right": [3, 4, 5]}
    for alignment, seen in rows.items():
        mask = causal_mask(3, 5, alignment)
        assert mask.sum(1).tolist() == seen
        assert all(mask[i, :n].all() for i, n in enumerate(seen))
    assert causal_mask(5, 3, "lower_right").any(1).tolist() == [False, False, True, True, True]


def test_a_row_of_nothing_but_minus_infinity_gives_zeros(device):
    rows = torch.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], device=device)

    assert softmax_or_zeros(rows).tolist() == [[0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"alignment": "lower_right", "causal": True},
                                     {"scale": 0.3}, {"soft_cap": 2.0}])  # fmt: skip
def test_gradients_are_those_of_finite_differences(maker, options):
    draw = maker(3)
    inputs = tuple(t.requires_grad_() for t in (draw(1, 2, 3, 2), draw(1, 2, 4, 2), draw(1, 2, 4, 3)))
    mask = draw(1, 1, 3, 4) > -0.5

    assert torch.autograd.gradcheck(lambda q, k, v: scaled_dot_product(q, k, v, mask, **options), inputs)


@pytest.mark.parametrize(
    ("shapes", "mask", "message"),
    [
        ([(2, 3, 5, 7), (1, 3, 11, 7), (1, 3, 11, 13)], None, "k has batch=1, but q has 2"),
        ([(2, 3, 5, 7), (2, 1, 11, 7), (2, 1, 11, 13)], None, "k has heads=1, but q has 3"),
        ([(2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 7, 13)], None, "v has kv_len=7, but k has 11"),
        ([(2, 3, 1, 7), (2, 3, 11, 7), (2, 3, 11, 13)], (2, 1, 11, 11), "mask has q_len=11, but q has 1"),
        ([(1, 3, 5, 7), (1, 3, 11, 7), (1, 3, 11, 13)], (4, 1, 1, 11), "mask has batch=4, but q has 1"),
        ([(2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 11, 13)], (5, 11),
         "mask must be (batch, heads, q_len, kv_len), got rank 2: (5, 11)"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_explained_in_axes(device, shapes, mask, message):
    """MH-3, MH-4, MH-5a to MH-5c: nothing is regrouped, and no mask enlarges the output."""
    tensors = [torch.zeros(shape, device=device) for shape in shapes]
    masked = None if mask is None else torch.ones(mask, dtype=torch.bool, device=device)
    with pytest.raises(ShapeError) as error:
        scaled_dot_product(*tensors, masked)

    assert str(error.value) == f"scaled_dot_product: {message}"


def test_a_float_is_no_mask(maker):
    """MH-7: an additive mask taken for a boolean one is inverted."""
    with pytest.raises(
        ShapeError, match=r"^scaled_dot_product: mask must hold bool values, got torch.float64"
    ):
        scaled_dot_product(*example(maker), maker(4)(2, 3, 5, 11))
