"""Criss-cross attention against loops over pixels, its laws, the mistakes they see, and its messages."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attnref import ShapeError
from attnref.mechanisms.criss_cross import MECHANISM, CrissCross, criss_cross, other_rows

sides = st.integers(1, 4)
seeds = st.integers(0, 99)


def project(x, conv):
    bias = 0 if conv.bias is None else conv.bias[:, None, None]
    return torch.tensordot(conv.weight[..., 0, 0], x, dims=([1], [1])).movedim(1, 0) + bias


def cross_of(i, j, height, width):
    """The places that pixel (i, j) looks at, each once."""
    return [(r, j) for r in range(height) if r != i] + [(i, c) for c in range(width)]


@torch.no_grad()
def by_loops(module, x):
    """One pixel at a time: its result, and its weights as a list."""
    q, k, v = (project(x, conv) for conv in (module.query, module.key, module.value))
    out = x.clone()
    batch, _, height, width = x.shape
    weights = x.new_zeros(batch, height, width, height + width - 1)
    for b, i, j in torch.cartesian_prod(*[torch.arange(n) for n in (batch, height, width)]).tolist():
        places = cross_of(i, j, height, width)
        powers = [math.exp(float(q[b, :, i, j] @ k[b, :, r, c])) for r, c in places]
        for n, (r, c) in enumerate(places):
            weights[b, i, j, n] = powers[n] / sum(powers)
            out[b, :, i, j] += module.gamma[0] * weights[b, i, j, n] * v[b, :, r, c]
    return out, weights


@torch.no_grad()
def set_parameters(module, **values):
    for name, value in values.items():
        parameter = module.get_parameter(name.replace("__", "."))
        parameter.copy_(
            torch.as_tensor(value, dtype=parameter.dtype, device=parameter.device).expand_as(parameter)
        )


def follows_transposed_image(call, module, x):
    return torch.allclose(call(module, x.mT), call(module, x).mT, rtol=1e-9, atol=1e-12)


def off_cross_pixel_has_no_influence(call, module, x):
    # Not the centre: it stays where it is when height and width are mixed up.
    changed = x.clone()
    changed[:, :, 1, 4] += 1
    same = (call(module, changed) == call(module, x)).all(1).all(0)
    off = torch.ones_like(same)
    off[1], off[:, 4] = False, False
    return torch.equal(same, off)


def weights_sum_to_one(call, module, x):
    set_parameters(module, value__weight=0.0, value__bias=0.7)
    return torch.allclose(call(module, x), x + 0.7 * module.gamma, rtol=1e-9, atol=1e-12)


def zero_key_gives_the_mean_of_the_cross(call, module, x):
    channels, height, width = x.shape[1:]
    identity = torch.eye(channels, dtype=x.dtype, device=x.device)[..., None, None]
    set_parameters(module, key__weight=0.0, key__bias=0.0, value__weight=identity, value__bias=0.0)
    total = x.sum(2, keepdim=True) + x.sum(3, keepdim=True) - x
    expected = x + module.gamma * total / (height + width - 1)
    return torch.allclose(call(module, x), expected, rtol=1e-9, atol=1e-12)


def example(maker, randomise, **options):
    return randomise(CrissCross(6, reduced=3, **options)), maker(1)(2, 6, 5, 7)


@given(
    batch=st.integers(0, 2), channels=st.integers(1, 4), height=sides, width=sides,
    reduced=st.integers(1, 4), bias=st.booleans(), seed=seeds,
)  # fmt: skip
def test_every_pixel_averages_its_cross(
    maker, agrees, randomise, batch, channels, height, width, reduced, bias, seed
):
    module = randomise(CrissCross(channels, reduced=reduced, bias=bias), seed)
    x = maker(seed + 1)(batch, channels, height, width)

    out, weights = module(x, need_weights=True)

    expected = by_loops(module, x)
    assert agrees(out, expected[0])
    assert agrees(weights, expected[1])
    assert torch.equal(module(x), out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, bias):
    module, x = example(maker, randomise, bias=bias)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters):
    module, x = example(maker, randomise)

    module(x).square().sum().backward()

    # A key's bias shifts all logits of a pixel alike: its gradient is zero but for rounding.
    assert set(silent_parameters(module)) <= {"key.bias"}
    assert module.key.bias.grad.abs().max() < 1e-9


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(0)
    shapes = [(2, 4, 3, 2), (3, 4), (3, 4), (4, 4), (1,), (3,), (3,), (4,)]

    assert torch.autograd.gradcheck(criss_cross, [draw(*shape).requires_grad_() for shape in shapes])


def call_module(module, x):
    return module(x)


@given(seed=seeds, bias=st.booleans())
def test_its_laws_hold(maker, agrees, randomise, seed, bias):
    module, x = randomise(CrissCross(6, reduced=3, bias=bias), seed), maker(seed + 1)(2, 6, 5, 7)
    out, weights = module(x, need_weights=True)
    rows, columns = (torch.randperm(n, generator=torch.Generator().manual_seed(seed)) for n in (5, 7))
    flat = x[..., :1, :1].expand_as(x)

    assert agrees(module(torch.cat([x[:1], x[1:] + 1]))[0], out[0])
    assert agrees(module(x[:, :, rows]), out[:, :, rows])
    assert agrees(module(x[..., columns]), out[..., columns])
    assert follows_transposed_image(call_module, module, x)
    assert off_cross_pixel_has_no_influence(call_module, module, x)
    assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert agrees(module(flat, need_weights=True)[1], torch.full_like(weights, 1 / 11))
    with torch.no_grad():
        module.query.weight.mul_(-4)
        module.key.weight.div_(-4)
        if bias:
            module.query.bias.mul_(-4)
            module.key.bias.mul_(7)
    assert agrees(module(x), out)
    with torch.no_grad():
        module.gamma.mul_(2)
    assert agrees(module(x) - x, 2 * (out - x))
    with torch.no_grad():
        module.value.weight.mul_(2)
        if bias:
            module.value.bias.mul_(2)
    assert agrees(module(x) - x, 4 * (out - x))
    if bias:
        assert weights_sum_to_one(call_module, module, x)
        assert zero_key_gives_the_mean_of_the_cross(call_module, module, x)
    set_parameters(module, gamma=0.0)
    assert torch.equal(module(x), x)


def test_gamma_is_zero_at_birth(maker, device):
    x = maker(0)(2, 6, 5, 7)

    assert torch.equal(CrissCross(6).to(device, torch.float64)(x), x)


@pytest.mark.parametrize("turn", [False, True])
def test_one_row_is_full_self_attention(maker, randomise, agrees, turn):
    module, x = example(maker, randomise)
    row = x[:, :, :1]
    q, k, v = (project(row, conv)[:, :, 0] for conv in (module.query, module.key, module.value))
    read = torch.softmax(q.mT @ k, -1) @ v.mT
    expected = row + module.gamma * read.mT[:, :, None]

    assert agrees(module(row.mT).mT if turn else module(row), expected)


def test_two_passes_reach_every_pixel(maker, randomise):
    module, x = example(maker, randomise)
    changed = x.clone()
    changed[:, :, 2, 3] += 1

    assert bool((module(module(changed)) != module(module(x))).any(1).all())


def test_a_single_pixel_reads_itself(maker, randomise, agrees):
    module, x = example(maker, randomise)
    pixel = x[..., :1, :1]

    assert agrees(module(pixel), pixel + module.gamma * project(pixel, module.value))


def test_what_might_be_expected_does_not_hold(maker, randomise):
    module, x = example(maker, randomise)
    shift = x.flatten(2).roll(1, -1).view_as(x)
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == ["follows_pixel_order", "follows_tiling"]
    assert not torch.allclose(module(shift), module(x).flatten(2).roll(1, -1).view_as(x))
    assert not torch.allclose(module(x.tile(1, 1, 2, 2)), module(x).tile(1, 1, 2, 2))


def attend(module, x, *, itself_twice=False, apart=False, view=False, swapped=False):
    """The authors' computation by column and row, with one of four mistakes."""
    q, k, v = (project(x, conv) for conv in (module.query, module.key, module.value))
    height, width = x.shape[2:]
    # CH-18: columns are cut from memory that holds rows.
    in_columns = [t.reshape(*t.shape[:2], width, height).mT if view else t for t in (q, k, v)]
    column = torch.einsum("bdiw, bdjw -> biwj", *in_columns[:2])
    if not itself_twice:
        itself = torch.eye(height, dtype=torch.bool, device=x.device)[:, None]
        column = column.masked_fill(itself, -torch.inf)
    row = torch.einsum("bdhi, bdhj -> bhij", q, k)
    if apart:
        weights = torch.cat([column.softmax(-1), row.softmax(-1)], -1)
    else:
        weights = torch.cat([column, row], -1).softmax(-1)
    read = torch.einsum("biwj, bcjw -> bciw", weights[..., :height], in_columns[2])
    read = read + torch.einsum("bhij, bchj -> bchi", weights[..., height:], v)
    if swapped:
        read = read.mT.reshape(x.shape)
    return x + module.gamma * read


MISTAKES = {
    "CH-17: itself twice": ({"itself_twice": True}, zero_key_gives_the_mean_of_the_cross),
    "CH-17: a softmax for each": ({"apart": True}, weights_sum_to_one),
    "CH-18: columns by view": ({"view": True}, off_cross_pixel_has_no_influence),
    "CH-18: columns by view, transposed": ({"view": True}, follows_transposed_image),
    "CH-19: height and width swapped": ({"swapped": True}, off_cross_pixel_has_no_influence),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_law_that_sees_a_mistake(maker, randomise, name):
    options, law = MISTAKES[name]
    module, x = example(maker, randomise)

    assert not law(lambda module, x: attend(module, x, **options), module, x)
    module, x = example(maker, randomise)
    assert law(call_module, module, x)


def test_the_authors_computation_agrees(maker, randomise, agrees):
    module, x = example(maker, randomise)

    assert agrees(module(x), attend(module, x))


def test_other_rows_leave_out_one_row_each():
    assert other_rows(3).tolist() == [[1, 2], [0, 2], [0, 1]]
    assert other_rows(1).shape == (1, 0)


def test_reduced_follows_channels():
    """CH-1: an eighth, but at least one."""
    assert [CrissCross(channels).reduced for channels in (3, 8, 17)] == [1, 1, 2]
    assert isinstance(CrissCross(3).query, nn.Conv2d)


@pytest.mark.parametrize(("channels", "reduced"), [(5, 0), (5, -2), (0, 1)])
def test_a_projection_onto_nothing_is_refused(channels, reduced):
    message = (
        f"criss_cross: channels and reduced must be at least 1, got channels={channels}, reduced={reduced}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CrissCross(channels, reduced=reduced)


def test_a_map_without_pixels_is_refused():
    message = "criss_cross: height and width must be at least 1, got height=5, width=0"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CrissCross(5)(torch.zeros(2, 5, 5, 0))


def test_wrong_channels_are_named():
    message = "CrissCross: x has channels=5, but channels is 3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CrissCross(3)(torch.zeros(2, 5, 3, 3))
