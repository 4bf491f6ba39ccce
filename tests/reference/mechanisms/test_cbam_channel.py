"""The channel gate of CBAM against pooling layers, its laws, the mistakes they see, and its messages."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attnref import ShapeError
from attnref.mechanisms.cbam_channel import MECHANISM, CbamChannel, cbam_channel

sides = st.integers(1, 5)
seeds = st.integers(0, 99)


@torch.no_grad()
def by_layers(module, x):
    """Pooling layers and 1×1 convolutions, as published code has it, one sample at a time."""
    gates = []
    for sample in x:
        logits = 0
        for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
            squeeze, excite = module.squeeze, module.excite
            hidden = F.conv2d(pool(sample[None], 1), squeeze.weight[:, :, None, None], squeeze.bias)
            logits = logits + F.conv2d(hidden.clamp(min=0), excite.weight[:, :, None, None], excite.bias)
        gates.append(1 / (1 + torch.exp(-logits)))
    return torch.cat(gates) * x if gates else x


def positive(module):
    """The same module with positive weights: no hidden unit is dead, and no gate is saturated."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.abs() / 10 + 0.01)
    return module


def with_a_higher_peak(x):
    """The largest pixel of every map raised, another lowered: means stay, maxima do not."""
    flat = x.flatten(2).clone()
    peak, floor = flat.argmax(-1, keepdim=True), flat.argmin(-1, keepdim=True)
    step = torch.ones_like(flat[..., :1])
    return flat.scatter_add(-1, peak, step).scatter_add(-1, floor, -step).view_as(x)


def gate_depends_on_the_maximum(module, x):
    """Of a module with positive weights. Gates are compared on a pixel that both inputs share."""
    flat, raised = x.flatten(2), with_a_higher_peak(x).flatten(2)
    shared = (flat == raised).to(x.dtype).argmax(-1, keepdim=True)
    before = (module(x).flatten(2) / flat).gather(-1, shared)
    after = (module(with_a_higher_peak(x)).flatten(2) / raised).gather(-1, shared)
    return bool((after > before + 1e-6).all())


def gate_sees_only_mean_and_maximum(module, x):
    """Pixels in an order of their own in every channel, and two of them moved towards each other."""
    low, high = x.flatten(2).sort(-1).values.split([x[0, 0].numel() - 1, 1], -1)
    middle = low.mean(-1, keepdim=True).expand_as(low)
    other = torch.cat([high, middle], -1).view_as(x)
    return torch.allclose(module(x)[..., 0, 0] / x[..., 0, 0], module(other)[..., 0, 0] / other[..., 0, 0])


def example(maker, randomise, **options):
    return randomise(CbamChannel(12, 3, **options)), maker(1)(2, 12, 5, 7)


@given(
    batch=st.integers(0, 3), channels=st.integers(1, 7), height=sides, width=sides,
    reduction=st.integers(1, 7), bias=st.booleans(), seed=seeds,
)  # fmt: skip
def test_every_channel_is_scaled_by_its_gate(
    maker, agrees, randomise, batch, channels, height, width, reduction, bias, seed
):
    module = randomise(CbamChannel(channels, min(channels, reduction), bias=bias), seed)
    x = maker(seed + 1)(batch, channels, height, width)

    assert agrees(module(x), by_layers(module, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, bias):
    module, x = example(maker, randomise, bias=bias)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("bias", [False, True])
def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters, bias):
    module, x = example(maker, randomise, bias=bias)

    positive(module)(x.abs()).square().sum().backward()

    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(0)
    tensors = (draw(2, 5, 3, 2), draw(4, 5), draw(5, 4), draw(4), draw(5))

    assert torch.autograd.gradcheck(cbam_channel, [t.requires_grad_() for t in tensors])


@given(seed=seeds, bias=st.booleans())
def test_its_laws_hold(maker, agrees, randomise, seed, bias):
    module, x = randomise(CbamChannel(12, 3, bias=bias), seed), maker(seed + 1)(2, 12, 5, 7)
    out = module(x)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(seed)).to(x.device)
    gate = (out / x).flatten(2)

    assert agrees(module(torch.cat([x[:1], x[1:] + 1]))[0], out[0])
    assert agrees(module(x.flatten(2)[..., order].view_as(x)), out.flatten(2)[..., order].view_as(x))
    assert agrees(module(x.mT), out.mT)
    assert agrees(module(x.tile(1, 1, 2, 3)), out.tile(1, 1, 2, 3))
    assert bool(((gate > 0) & (gate < 1)).all())
    assert agrees(gate, gate[..., :1].expand_as(gate))
    assert torch.equal(out.sign(), x.sign())
    assert not module(torch.zeros_like(x)).any()
    assert gate_sees_only_mean_and_maximum(module, x)
    with torch.no_grad():
        for parameter in module.squeeze.parameters():
            parameter.mul_(4)
        module.excite.weight.div_(4)
    assert agrees(module(x), out)
    bright = x.abs() + 0.1
    positive(module)
    assert bool((module(2 * bright) / (2 * bright) > module(bright) / bright + 1e-6).all())
    assert gate_depends_on_the_maximum(module, x)


def test_what_might_be_expected_does_not_hold(maker, randomise):
    module, x = example(maker, randomise)
    positive(module)
    one_pixel = x.clone()
    one_pixel[..., 0, 0] += 3
    flat = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == [
        "gate_sees_only_the_mean", "follows_channel_order", "pixels_do_not_mix", "scales_with_the_input",
    ]  # fmt: skip
    assert not torch.allclose(module(x) / x, module(flat) / flat)
    assert not torch.allclose(module(x.flip(1)), module(x).flip(1))
    assert not torch.allclose(module(one_pixel)[..., 1:, 1:], module(x)[..., 1:, 1:])
    assert not torch.allclose(module(3 * x), 3 * module(x))


class Mistaken(nn.Module):
    """The gate with a pair of pools and a step after it to get wrong."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def pools(self, x):
        return x.mean(dim=(2, 3)), x.amax(dim=(2, 3))

    def forward(self, x):
        mean, maximum = self.pools(x)
        logits = self.excite(torch.relu(self.squeeze(mean)) + torch.relu(self.squeeze(maximum)))
        return x * torch.sigmoid(logits)[:, :, None, None]


class MeansTwice(Mistaken):
    """CH-6."""

    def pools(self, x):
        return x.mean(dim=(2, 3)), x.mean(dim=(2, 3))


class PoolsCorner(Mistaken):
    """CH-7: a maximum over a window of fixed size."""

    def pools(self, x):
        return x.mean(dim=(2, 3)), F.max_pool2d(x, 2)[..., 0, 0]


def test_the_same_pool_twice_is_seen(maker, randomise):
    x = maker(0)(2, 12, 5, 7)

    assert not gate_depends_on_the_maximum(positive(randomise(MeansTwice(12, 3))), x)
    assert gate_depends_on_the_maximum(positive(randomise(Mistaken(12, 3))), x)


def test_a_maximum_over_a_fixed_window_is_seen(maker, randomise, agrees):
    x = maker(0)(2, 12, 5, 7)
    mistaken = positive(randomise(PoolsCorner(12, 3)))
    right = positive(randomise(CbamChannel(12, 3)))

    assert not agrees(mistaken(x.flip(-1)), mistaken(x).flip(-1))
    assert agrees(right(x.flip(-1)), right(x).flip(-1))


def test_equal_maxima_share_the_gradient(maker, randomise):
    module = positive(randomise(CbamChannel(3, 1)))
    x = maker(0)(1, 3, 1, 1).abs().tile(1, 1, 2, 3).requires_grad_()

    (module(x) / x.detach()).sum().backward()

    assert torch.allclose(x.grad, x.grad[..., :1, :1].expand_as(x), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("channels", "reduction"), [(5, 7), (5, 0), (0, 1)])
def test_a_squeeze_that_leaves_nothing_is_refused(channels, reduction):
    """CB-3: the article's constructor only warns, and the call crashes."""
    message = (
        "cbam_channel: channels // reduction must be at least 1, "
        f"got channels={channels}, reduction={reduction}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CbamChannel(channels, reduction)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_the_articles_squeeze_crashes_only_when_called():
    """CB-3, CH-1."""
    article = nn.Conv2d(3, 3 // 5, 1, bias=False)

    with pytest.raises(RuntimeError, match="expected weight to be at least 1 at dimension 0"):
        article(torch.zeros(2, 3, 1, 1))


def test_a_map_without_pixels_is_refused():
    message = "cbam_channel: height and width must be at least 1, got height=0, width=3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CbamChannel(5, 1)(torch.zeros(2, 5, 0, 3))


def test_wrong_channels_are_named():
    message = "CbamChannel: x has channels=5, but channels is 3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CbamChannel(3, 1)(torch.zeros(2, 5, 3, 3))
