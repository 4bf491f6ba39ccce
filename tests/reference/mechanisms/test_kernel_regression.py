"""Kernel regression against the textbook quotient of sums, its laws, and half precision."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.kernel_regression import KernelRegression, kernel_regression

sizes = st.integers(0, 5)


def by_quotient(queries, keys, values, inverse_width):
    """Σ K(x - x_j) y_j / Σ K(x - x_j) with the Gaussian kernel, in Python floats."""
    answers = []
    for i, x in enumerate(queries.tolist()):
        places = (keys if keys.dim() == 1 else keys[i]).tolist()
        heights = (values if values.dim() == 1 else values[i]).tolist()
        kernel = [math.exp(-(((x - place) * inverse_width) ** 2) / 2) for place in places]
        total = sum(k * y for k, y in zip(kernel, heights, strict=True))
        answers.append(total / sum(kernel) if kernel else 0.0)
    return torch.tensor(answers, dtype=torch.float64, device=queries.device)


def squares(queries, keys, values):
    """The definition as one writes it first, without care for the largest number of a dtype."""
    return torch.softmax(-((queries[:, None] - keys) ** 2) / 2, dim=-1) @ values


@given(
    q_len=sizes, kv_len=sizes, seed=st.integers(0, 999), inverse_width=st.floats(-4, 4),
    own_keys=st.booleans(), own_values=st.booleans(),
)  # fmt: skip
def test_it_is_the_quotient_of_kernel_sums(
    maker, agrees, q_len, kv_len, seed, inverse_width, own_keys, own_values
):
    draw = maker(seed)
    queries = draw(q_len)
    keys = draw(q_len, kv_len) if own_keys else draw(kv_len)
    values = draw(q_len, kv_len) if own_values else draw(kv_len)
    w = torch.tensor(inverse_width, dtype=torch.float64, device=queries.device)

    out, weights = kernel_regression(queries, keys, values, w, need_weights=True)

    assert agrees(out, by_quotient(queries, keys, values, inverse_width))
    assert agrees(weights.sum(-1), torch.full_like(out, float(kv_len > 0)))
    assert torch.equal(out, kernel_regression(queries, keys, values, w))


def test_without_a_width_it_is_one(maker):
    draw = maker(0)
    inputs = draw(3), draw(7), draw(7)

    assert torch.equal(kernel_regression(*inputs), KernelRegression().to(inputs[0])(*inputs))


@given(shift=st.floats(-9, 9), c=st.floats(0.2, 5))
def test_only_scaled_distances_count(maker, agrees, shift, c):
    draw = maker(1)
    x, keys, y, w = draw(3), draw(7), draw(7), draw(1)[0]
    out = kernel_regression(x, keys, y, w)

    assert agrees(kernel_regression(x + shift, keys + shift, y, w), out)
    assert agrees(kernel_regression(-x, -keys, y, w), out)
    assert agrees(kernel_regression(x, keys, y, -w), out)
    assert agrees(kernel_regression(x * c, keys * c, y, w / c), out)


@pytest.mark.parametrize("broken", ["opposite rescaling", "shifted keys"])
def test_laws_of_dot_products_do_not_hold(maker, agrees, broken):
    draw = maker(1)
    x, keys, y = draw(3), draw(7), draw(7)
    moved = (x * 3, keys / 3) if broken == "opposite rescaling" else (x, keys + 1)

    assert not agrees(kernel_regression(*moved, y), kernel_regression(x, keys, y))


def test_it_is_affine_in_the_values_and_stays_between_them(maker, agrees):
    draw = maker(2)
    x, keys, y = draw(3), draw(7), draw(7)
    out = kernel_regression(x, keys, y)

    assert agrees(kernel_regression(x, keys, 3 * y + 2), 3 * out + 2)
    assert y.min() <= out.min()
    assert out.max() <= y.max()


def test_a_kernel_without_end_gives_the_mean_and_one_without_width_the_nearest(maker, agrees):
    draw = maker(3)
    keys, y = draw(7), draw(7)
    flat, sharp = torch.zeros((), dtype=torch.float64), torch.tensor(1e9, dtype=torch.float64)

    assert agrees(kernel_regression(draw(3), keys, y, flat.to(y.device)), y.mean().expand(3))
    assert agrees(kernel_regression(keys, keys, y, sharp.to(y.device)), y)


def test_it_is_dot_product_attention_with_a_penalty_on_long_keys(maker, agrees):
    draw = maker(4)
    x, keys, y = draw(3), draw(7), draw(7)

    expected = torch.softmax(x[:, None] * keys - keys**2 / 2, dim=-1) @ y

    assert agrees(kernel_regression(x, keys, y), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, dtype):
    draw = maker(5)
    inputs = [draw(3).to(dtype), draw(7).to(dtype), draw(7).to(dtype)]

    out = kernel_regression(*inputs)

    assert out.dtype == dtype
    assert agrees(out, kernel_regression(*(t.double() for t in inputs)))


def test_far_keys_do_not_overflow_half_precision(device):
    """Squares of distances above 256 are infinite at float16: all of a row, and it is NaN."""
    x = torch.zeros(1, dtype=torch.float16, device=device)
    keys = torch.tensor([500.0, 450.0, 20000.0], dtype=torch.float16, device=device)
    y = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float16, device=device)
    assert squares(x, keys, y).isnan().all()

    leaves = [t.requires_grad_() for t in (x, keys, y)]
    out = kernel_regression(*leaves)
    out.sum().backward()

    assert out.tolist() == [2.0]
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(6)
    shared = tuple(t.requires_grad_() for t in (draw(3), draw(5), draw(5), draw(1)[0]))
    own = tuple(t.requires_grad_() for t in (draw(3), draw(3, 5), draw(3, 5), draw(1)[0]))

    assert torch.autograd.gradcheck(kernel_regression, shared)
    assert torch.autograd.gradcheck(kernel_regression, own)
    assert torch.autograd.gradgradcheck(kernel_regression, shared)


def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters):
    draw, module = maker(7), randomise(KernelRegression())

    module(draw(3), draw(7), draw(7)).square().sum().backward()

    assert silent_parameters(module) == []
    assert [name for name, _ in module.named_parameters()] == ["inverse_width"]


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ((7,), (5,), "values has kv_len=5, but keys has 7"),
        ((2, 7), (7,), "keys has q_len=2, but queries has 3"),
        ((3, 7, 1), (7,), "keys must be (q_len, kv_len) or (kv_len), got rank 3: (3, 7, 1)"),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, keys, values, message):
    new = torch.zeros
    with pytest.raises(ShapeError) as error:
        kernel_regression(new(3, device=device), new(keys, device=device), new(values, device=device))

    assert str(error.value) == f"kernel_regression: {message}"
