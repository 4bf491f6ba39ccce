"""Cross-attention against loops, and the source article's best hidden mistake."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.cross import Cross

sizes = st.integers(0, 4)
widths = st.integers(1, 5)


@torch.no_grad()
def by_loops(module, x, y, mask):
    """One query at a time, in Python floats."""
    q, k, v = module.query(x), module.key(y), module.value(y)
    out = torch.zeros(*x.shape[:2], module.v_dim, dtype=torch.float64, device=x.device)
    for b, i in ((b, i) for b in range(x.shape[0]) for i in range(x.shape[1])):
        seen = [j for j in range(y.shape[1]) if mask[b, i, j]]
        powers = [math.exp(float(q[b, i] @ k[b, j]) / math.sqrt(module.head_dim)) for j in seen]
        for j, power in zip(seen, powers, strict=True):
            out[b, i] += power / sum(powers) * v[b, j]
    return out


def values_from_keys(module, x, y):
    """CA-1: `y = key(y)` and then `value(y)`; runs only if key_size equals head_dim."""
    y = module.key(y)
    weights = torch.softmax(module.query(x) @ y.mT / math.sqrt(module.head_dim), -1)
    return weights @ module.value(y)


def right(module, x, y):
    return module(x, y)


@given(
    batch=sizes, q_len=sizes, kv_len=sizes, query_size=widths, key_size=widths, head_dim=widths,
    v_dim=widths, bias=st.booleans(), with_mask=st.booleans(),
)  # fmt: skip
def test_it_is_the_weighted_mean_of_the_projected_values(
    maker, agrees, randomise, batch, q_len, kv_len, query_size, key_size, head_dim, v_dim, bias, with_mask
):
    draw = maker(1)
    module = randomise(Cross(query_size, key_size, head_dim, v_dim, bias=bias))
    x, y, noise = draw(batch, q_len, query_size), draw(batch, kv_len, key_size), draw(batch, q_len, kv_len)
    mask = noise > -0.3 if with_mask else torch.ones_like(noise, dtype=torch.bool)

    out, weights = module(x, y, mask if with_mask else None, need_weights=True)

    assert agrees(out, by_loops(module, x, y, mask))
    assert agrees(weights.sum(-1), mask.any(-1).double())


def example(maker, randomise):
    """Sizes at which the article's mistake runs: key_size equals head_dim."""
    draw = maker(0)
    return randomise(Cross(query_size=3, key_size=5, head_dim=5, v_dim=7)), draw(2, 4, 3), draw(2, 6, 5)


@pytest.mark.parametrize(("attend", "lawful"), [(right, True), (values_from_keys, False)])
def test_a_zero_key_projection_gives_the_mean_of_the_values(maker, agrees, randomise, attend, lawful):
    module, x, y = example(maker, randomise)
    module.key.weight.data.zero_(), module.key.bias.data.zero_()

    expected = module.value(y).mean(1, keepdim=True).expand(2, 4, 7)

    assert agrees(attend(module, x, y), expected) is lawful


@pytest.mark.parametrize(("attend", "lawful"), [(right, True), (values_from_keys, False)])
def test_opposite_rescaling_of_query_and_key_changes_nothing(maker, agrees, randomise, attend, lawful):
    module, x, y = example(maker, randomise)
    out = attend(module, x, y)

    module.query.weight.data.mul_(3), module.query.bias.data.mul_(3)
    module.key.weight.data.div_(3), module.key.bias.data.div_(3)

    assert agrees(attend(module, x, y), out) is lawful


@pytest.mark.parametrize(("attend", "lawful"), [(right, True), (values_from_keys, False)])
def test_with_one_key_the_key_projection_learns_nothing(maker, agrees, randomise, attend, lawful):
    module, x, y = example(maker, randomise)

    out = attend(module, x, y[:, :1])
    out.square().sum().backward()

    assert agrees(out, module.value(y[:, :1]).expand(2, 4, 7)) is lawful
    assert (not module.key.weight.grad.any()) is lawful


@pytest.mark.parametrize("sizes_of", [(3, 5, 7, 11), (3, 5, 5, 11), (5, 3, 7, 7)])
def test_four_different_widths_are_legal(device, sizes_of):
    """CA-2, CA-3, CA-11: the printed versions need some or all of them equal."""
    query_size, key_size, _, v_dim = sizes_of
    x, y = torch.ones(2, 4, query_size, device=device), torch.ones(2, 6, key_size, device=device)

    assert Cross(*sizes_of).to(device)(x, y).shape == (2, 4, v_dim)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype):
    module, x, y = example(maker, randomise)
    module, x, y = module.to(dtype), x.to(dtype), y.to(dtype)
    mask = maker(2)(2, 4, 6) > 0
    mask[0, 0] = False

    out = module(x, y, mask)

    assert out.dtype == dtype
    assert not out[0, 0].any()
    assert agrees(out, module.double()(x.double(), y.double(), mask))


def test_one_backward_reaches_every_parameter_but_the_key_bias(maker, randomise, silent_parameters):
    module, x, y = example(maker, randomise)

    module(x, y).square().sum().backward()

    # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
    assert module.key.bias.grad.abs().max() < 1e-12
    module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker, randomise):
    module, x, y = example(maker, randomise)

    assert torch.autograd.gradcheck(module, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((1, 4, 3), (2, 6, 5), "y has batch=2, but x has 1"),
        ((2, 4, 5), (2, 6, 5), "x has query_size=5, but query_size is 3"),
        ((4, 3), (6, 5), "x must be (batch, q_len, {self.query_size}), got rank 2: (4, 3)"),
    ],
)
def test_a_wrong_call_is_explained_in_axes(maker, randomise, x, y, message):
    """CA-7 and CA-8: a batch of one is not broadcast, and there is always a batch."""
    draw, module = maker(3), randomise(Cross(3, 5, 7, 11))

    with pytest.raises(ShapeError) as error:
        module(draw(*x), draw(*y))

    assert str(error.value) == f"Cross: {message}"
