"""Spatial self-attention against loops over pixels, and what published copies get wrong."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import max_pool2d

from attnref import ShapeError
from attnref.mechanisms.spatial_self import SpatialSelf

batches, sizes = st.integers(0, 3), st.integers(1, 4)


@torch.no_grad()
def by_loops(module, x):
    """One query pixel at a time, in Python floats."""
    q, k, v = module.query(x), module.key(x), module.value(x)
    squares = [
        [(a * module.pool + i, b * module.pool + j) for i in range(module.pool) for j in range(module.pool)]
        for a in range(x.shape[2] // module.pool)
        for b in range(x.shape[3] // module.pool)
    ]
    read = torch.zeros(x.shape[0], module.v_dim, *x.shape[2:], dtype=x.dtype, device=x.device)
    for n, i, j in (
        (n, i, j) for n in range(x.shape[0]) for i in range(x.shape[2]) for j in range(x.shape[3])
    ):
        keys = [torch.stack([k[n, :, a, b] for a, b in square]).amax(0) for square in squares]
        values = [torch.stack([v[n, :, a, b] for a, b in square]).amax(0) for square in squares]
        powers = [math.exp(float(q[n, :, i, j] @ key)) for key in keys]
        for power, value in zip(powers, values, strict=True):
            read[n, :, i, j] += power / sum(powers) * value
    return x + module.gamma * (read if module.output is None else module.output(read))


@given(
    batch=batches, channels=sizes, reduced=sizes, v_dim=sizes, height=sizes, width=sizes,
    projected=st.booleans(), bias=st.booleans(), pool=st.sampled_from([1, 2]),
)  # fmt: skip
def test_it_adds_to_every_pixel_what_that_pixel_reads(
    maker, agrees, randomise, batch, channels, reduced, v_dim, height, width, projected, bias, pool
):
    height, width = max(height, pool), max(width, pool)
    module = randomise(
        SpatialSelf(
            channels, reduced=reduced, v_dim=v_dim if projected else None,
            projected=projected, pool=pool, bias=bias,
        )
    )  # fmt: skip
    x = maker(1)(batch, channels, height, width)

    out, weights = module(x, need_weights=True)

    assert agrees(out, by_loops(module, x))
    assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))


def example(maker, randomise, **options):
    """Three rows, two columns: as many features as pixels, so that no mistake crashes.

    Pooled, it is five rows and four columns: four keys, and a row that is none.
    """
    sides = (5, 4) if "pool" in options and options["pool"] == 2 else (3, 2)
    return randomise(SpatialSelf(6, reduced=6, **options)), maker(0)(5, 6, *sides)


def test_keys_are_pooled_after_their_projection(maker, agrees, randomise):
    module, x = example(maker, randomise, pool=2)

    q, k, v = module.query(x), max_pool2d(module.key(x), 2), max_pool2d(module.value(x), 2)
    read = torch.nn.functional.scaled_dot_product_attention(
        *(t.flatten(2).mT for t in (q, k, v)), scale=1.0
    ).mT.reshape(x.shape)

    assert agrees(module(x), module.gamma * read + x)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_few_channels_still_have_a_query(device, channels):
    """SS-1: an eighth of fewer than eight channels is no feature at all."""
    printed = torch.nn.Conv2d
    with pytest.warns(UserWarning, match="zero-element"):
        printed(channels, channels // 8, 1)

    module = SpatialSelf(channels).to(device)

    assert module.reduced == 1
    assert SpatialSelf(17).reduced == 2
    assert module(torch.ones(2, channels, 3, 2, device=device)).shape == (2, channels, 3, 2)


def test_an_empty_batch_stays_empty(device):
    """SS-2: a view with -1 cannot say what an empty batch looks like."""
    empty = torch.ones(0, 6, 3, 2, device=device)
    with pytest.raises(RuntimeError, match="0 elements"):
        empty.view(0, -1, 6)

    out, weights = SpatialSelf(6).to(device)(empty, need_weights=True)

    assert out.shape == (0, 6, 3, 2)
    assert weights.shape == (0, 6, 6)


def test_large_activations_overflow_float16_but_not_bfloat16(maker, randomise):
    """SS-3: logits have no scale, in the paper too; the range of the dtype is the limit."""
    module, x = example(maker, randomise)

    assert module.half()(300 * x.half()).isnan().any()
    assert module.bfloat16()(300 * x.bfloat16()).isfinite().all()


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, pool):
    module, x = example(maker, randomise, pool=pool)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("options", [{}, {"projected": True, "pool": 2}])
def test_one_backward_reaches_every_parameter_but_the_key_bias(maker, randomise, silent_parameters, options):
    module, x = example(maker, randomise, **options)

    module(x).square().sum().backward()

    # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
    assert module.key.bias.grad.abs().max() < 1e-12
    module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker, randomise):
    module, x = example(maker, randomise, projected=True)

    assert torch.autograd.gradcheck(module, (x[:2].requires_grad_(),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"reduced": 0},
            "spatial_self: channels, reduced, v_dim and pool must be at least 1, got "
            "channels=6, reduced=0, v_dim=6, pool=1",
        ),
        (
            {"v_dim": 3},
            "spatial_self: v_dim must equal channels unless projected, got v_dim=3, channels=6",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SpatialSelf(6, **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3, 2), "SpatialSelf: x has channels=5, but channels is 6"),
        (
            (2, 6, 3),
            "SpatialSelf: x must be (batch, {self.channels}, height, width), got rank 3: (2, 6, 3)",
        ),
        (
            (2, 6, 1, 5),
            "spatial_self: pool=2 leaves no key: height and width must be at least pool, "
            "got height=1, width=5",
        ),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, shape, message):
    module = SpatialSelf(6, pool=2).to(device)

    with pytest.raises(ShapeError) as error:
        module(torch.ones(shape, device=device))

    assert str(error.value) == message
