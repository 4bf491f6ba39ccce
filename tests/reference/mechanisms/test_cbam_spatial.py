"""The spatial gate of CBAM against loops over pixels, its laws, the mistakes they see, and its messages."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from attnref import ShapeError
from attnref.mechanisms.cbam_spatial import MECHANISM, CbamSpatial, cbam_spatial

sides = st.integers(1, 4)
seeds = st.integers(0, 99)
kernels = st.sampled_from([1, 3, 5, 7])


@torch.no_grad()
def by_loops(module, x):
    """One pixel and one place of the kernel at a time; beyond the border there is nothing."""
    out = torch.zeros_like(x)
    reach = module.kernel // 2
    pair = [x.mean(1), x.max(1).values]
    if module.maximum_first:
        pair.reverse()
    for b, i, j in torch.cartesian_prod(*[torch.arange(x.shape[a]) for a in (0, 2, 3)]).tolist():
        logit = 0.0 if module.conv.bias is None else float(module.conv.bias)
        for m, u, v in torch.cartesian_prod(torch.arange(2), *[torch.arange(module.kernel)] * 2).tolist():
            row, column = i + u - reach, j + v - reach
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                logit += float(module.conv.weight[0, m, u, v] * pair[m][b, row, column])
        out[b, :, i, j] = x[b, :, i, j] / (1 + math.exp(-logit))
    return out


def positive(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.abs() / 10 + 0.01)
    return module


def gate_is_between_zero_and_one(call, x):
    gate = call(x) / x
    return bool(((gate > 0) & (gate < 1)).all())


def gate_is_constant_over_channels(call, x):
    gate = call(x) / x
    return torch.allclose(gate, gate[:, :1].expand_as(gate), rtol=1e-9)


def ignores_zero_border(call, x):
    return torch.allclose(call(F.pad(x, (3, 3, 3, 3)))[..., 3:-3, 3:-3], call(x), rtol=1e-9)


def samples_do_not_mix(call, x):
    return torch.allclose(call(torch.cat([x[:1], x[1:] + 1]))[0], call(x)[0], rtol=1e-12)


def follows_channel_order(call, x):
    return torch.allclose(call(x.roll(1, dims=1)), call(x).roll(1, dims=1), rtol=1e-9)


def gate_depends_on_the_maximum(call, x):
    """Of a module with positive weights: the largest channel raised, the smallest lowered."""
    order = x.argsort(1)
    step = torch.ones_like(x[:, :1])
    raised = x.scatter_add(1, order[:, -1:], step).scatter_add(1, order[:, :1], -step)
    shared = order[:, 1:2]
    before, after = ((call(y) / y).gather(1, shared) for y in (x, raised))
    return bool((after > before + 1e-6).all())


def example(maker, randomise, kernel=3, **options):
    return randomise(CbamSpatial(kernel, **options)), maker(1)(2, 11, 5, 7)


@given(
    batch=st.integers(0, 2), channels=st.integers(1, 5), height=sides, width=sides, kernel=kernels,
    bias=st.booleans(), maximum_first=st.booleans(), seed=seeds,
)  # fmt: skip
def test_every_pixel_is_scaled_by_its_gate(
    maker, agrees, randomise, batch, channels, height, width, kernel, bias, maximum_first, seed
):
    module = randomise(CbamSpatial(kernel, bias=bias, maximum_first=maximum_first), seed)
    x = maker(seed + 1)(batch, channels, height, width)

    assert agrees(module(x), by_loops(module, x))


def test_a_normalised_gate_shifts_and_scales_its_logits(maker, agrees, randomise):
    module, x = example(maker, randomise, norm=True)
    with torch.no_grad():
        module.norm.running_mean.fill_(0.3)
        module.norm.running_var.fill_(2.0)
    module.eval()
    plain = F.conv2d(torch.stack([x.mean(1), x.amax(1)], 1), module.conv.weight, padding=1)
    logits = (plain - 0.3) * (2.0 + module.norm.eps) ** -0.5 * module.norm.weight + module.norm.bias

    assert agrees(module(x), x * torch.sigmoid(logits))


def test_a_normalised_gate_mixes_samples_in_training(maker, randomise):
    module, x = example(maker, randomise, norm=True)

    assert not samples_do_not_mix(module.train(), x)
    assert samples_do_not_mix(module.eval(), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"bias": True}, {"maximum_first": True}])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, options):
    module, x = example(maker, randomise, **options)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("bias", [False, True])
def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters, bias):
    module, x = example(maker, randomise, bias=bias)

    module(x).square().sum().backward()

    assert silent_parameters(module) == []


@pytest.mark.parametrize("maximum_first", [False, True])
def test_gradients_are_those_of_finite_differences(maker, maximum_first):
    draw = maker(0)
    tensors = [t.requires_grad_() for t in (draw(2, 3, 4, 2), draw(1, 2, 3, 3), draw(1))]

    def call(x, weight, bias):
        return cbam_spatial(x, weight, bias, maximum_first=maximum_first)

    assert torch.autograd.gradcheck(call, tensors)


@given(kernel=kernels, seed=seeds, bias=st.booleans(), maximum_first=st.booleans())
def test_its_laws_hold(maker, agrees, randomise, kernel, seed, bias, maximum_first):
    module = randomise(CbamSpatial(kernel, bias=bias, maximum_first=maximum_first), seed)
    x = maker(seed + 1)(2, 11, 5, 7)
    out = module(x)
    turned = randomise(CbamSpatial(kernel, bias=bias, maximum_first=maximum_first), seed)
    with torch.no_grad():
        turned.conv.weight.copy_(module.conv.weight.mT.clone())

    assert samples_do_not_mix(module, x)
    assert follows_channel_order(module, x)
    assert agrees(module(x.repeat(1, 2, 1, 1)), out.repeat(1, 2, 1, 1))
    assert ignores_zero_border(module, x)
    assert agrees(turned(x.mT), out.mT)
    assert gate_is_between_zero_and_one(module, x)
    assert gate_is_constant_over_channels(module, x)
    assert torch.equal(out.sign(), x.sign())
    assert not module(torch.zeros_like(x)).any()
    positive(module)
    bright = x.abs() + 0.1
    assert bool((module(2 * bright) / (2 * bright) > module(bright) / bright).all())
    assert gate_depends_on_the_maximum(module, x)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_pixel_reaches_half_a_kernel_far_and_no_further(maker, randomise, kernel):
    module = randomise(CbamSpatial(kernel))
    x = maker(0)(1, 3, 7, 11)
    changed = x.clone()
    changed[..., 3, 5] += 1

    moved = (module(changed) != module(x)).any(1)[0].nonzero()

    reach = kernel // 2
    assert moved.min(0).values.tolist() == [3 - reach, 5 - reach]
    assert moved.max(0).values.tolist() == [3 + reach, 5 + reach]


def test_a_kernel_of_one_follows_pixel_order(maker, randomise, agrees):
    module, x = example(maker, randomise, kernel=1)

    assert agrees(module(x.flatten(2).roll(4, -1).view_as(x)), module(x).flatten(2).roll(4, -1).view_as(x))


def test_what_might_be_expected_does_not_hold(maker, randomise):
    module, x = example(maker, randomise)
    out = module(x)
    gate = out / x
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == [
        "samples_do_not_mix", "follows_pixel_order", "follows_transposed_image", "follows_tiling",
        "gate_is_constant_over_space",
    ]  # fmt: skip
    assert not torch.allclose(module(x.roll(1, dims=-1)), out.roll(1, dims=-1))
    assert not torch.allclose(module(x.mT), out.mT)
    assert not torch.allclose(module(x.tile(1, 1, 2, 2)), out.tile(1, 1, 2, 2))
    assert not torch.allclose(gate, gate[..., :1, :1].expand_as(gate))


@pytest.fixture
def weight(maker):
    return maker(5)(1, 2, 3, 3).abs() + 0.1


def logits(maps, weight):
    return F.conv2d(maps, weight, padding=1)


def pooled(x):
    return torch.stack([x.mean(1), x.amax(1)], 1)


MISTAKES = {
    "CH-8: no sigmoid": (lambda x, w: x * logits(pooled(x), w), gate_is_between_zero_and_one),
    "CH-9: mean over the batch": (
        lambda x, w: x * logits(pooled(x.mean(0, keepdim=True)), w).sigmoid(),
        samples_do_not_mix,
    ),
    "CH-10: border replicated": (
        lambda x, w: x * F.conv2d(F.pad(pooled(x), (1, 1, 1, 1), mode="replicate"), w).sigmoid(),
        ignores_zero_border,
    ),
    "CH-12: a map for every channel": (
        lambda x, w: x * logits(pooled(x), w.repeat(x.shape[1], 1, 1, 1) * _steps(x)).sigmoid(),
        gate_is_constant_over_channels,
    ),
    "CH-6: mean twice": (
        lambda x, w: x * logits(pooled(x)[:, [0, 0]], w).sigmoid(),
        gate_depends_on_the_maximum,
    ),
}


def _steps(x):
    return torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)[:, None, None, None] / 10


@pytest.mark.parametrize("name", MISTAKES)
def test_the_law_that_sees_a_mistake(maker, weight, name):
    mistaken, law = MISTAKES[name]
    x = maker(0)(2, 11, 5, 7)

    assert not law(lambda x: mistaken(x, weight), x)
    assert law(lambda x: cbam_spatial(x, weight), x)


def test_the_order_of_the_maps_shows_only_beside_the_other_order(maker, randomise, agrees):
    """CH-9: one module with its maps swapped equals the other with its weights swapped."""
    module, x = example(maker, randomise)
    swapped = randomise(CbamSpatial(3, maximum_first=True))

    assert not torch.allclose(swapped(x), module(x))
    assert torch.allclose(swapped(x[:, :1]), cbam_spatial(x[:, :1], module.conv.weight.flip(1)), rtol=1e-9)
    assert agrees(cbam_spatial(x, module.conv.weight.flip(1), maximum_first=True), module(x))


@pytest.mark.parametrize("kernel", [0, 2, 6, -1])
def test_a_kernel_that_is_not_odd_is_refused(kernel):
    """CH-10: with padding k // 2 an even kernel gives a map one larger."""
    message = f"cbam_spatial: kernel must be odd and positive, got kernel={kernel}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CbamSpatial(kernel)


def test_an_even_weight_is_refused(maker):
    message = "cbam_spatial: kernel must be odd and positive, got kernel=4"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cbam_spatial(maker(0)(2, 3, 5, 7), maker(0)(1, 2, 4, 4))


def test_a_map_without_pixels_is_refused():
    message = "cbam_spatial: height and width must be at least 1, got height=5, width=0"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CbamSpatial(3)(torch.zeros(2, 5, 5, 0))
