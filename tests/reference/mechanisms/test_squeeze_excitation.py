"""Squeeze-and-excitation against loops over channels, its laws, the mistakes they see, and its messages."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attnref import ShapeError
from attnref.mechanisms.squeeze_excitation import MECHANISM, SqueezeExcitation, squeeze_excitation

sides = st.integers(1, 5)
seeds = st.integers(0, 99)


@torch.no_grad()
def by_loops(module, x):
    """One sample and one channel at a time."""
    out = torch.zeros_like(x)
    for b in range(x.shape[0]):
        hidden = [0.0] * module.reduced
        for r in range(module.reduced):
            total = 0.0 if module.squeeze.bias is None else float(module.squeeze.bias[r])
            for c in range(x.shape[1]):
                total += float(module.squeeze.weight[r, c]) * float(x[b, c].sum()) / x[b, c].numel()
            hidden[r] = max(total, 0.0)
        for c in range(x.shape[1]):
            logit = 0.0 if module.excite.bias is None else float(module.excite.bias[c])
            logit += sum(float(module.excite.weight[c, r]) * hidden[r] for r in range(module.reduced))
            out[b, c] = x[b, c] / (1 + torch.exp(torch.tensor(-logit, device=x.device, dtype=x.dtype)))
    return out


def positive(module):
    """The same module with positive weights: no hidden unit is dead, and no gate is saturated."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.abs() / 10 + 0.01)
    return module


def samples_do_not_mix(module, x):
    changed = torch.cat([x[:1], x[1:] + 1])
    return torch.allclose(module(x)[0], module(changed)[0], rtol=1e-12, atol=1e-12)


def gate_is_constant_over_space(module, x):
    gate = (module(x) / x).flatten(2)
    return torch.allclose(gate, gate[..., :1].expand_as(gate), rtol=1e-9)


def gate_sees_only_the_mean(module, x):
    flat = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    return torch.allclose(module(x) / x, module(flat) / flat, rtol=1e-9)


def gate_depends_on_the_input(module, x):
    """Of a module with positive weights, for a positive input."""
    return bool((module(2 * x) / (2 * x) > module(x) / x + 1e-6).all())


def example(maker, randomise, **options):
    return randomise(SqueezeExcitation(12, 3, **options)), maker(1)(2, 12, 5, 7)


@given(
    batch=st.integers(0, 3), channels=st.integers(1, 7), height=sides, width=sides,
    reduction=st.integers(1, 7), bias=st.booleans(), seed=seeds,
)  # fmt: skip
def test_every_channel_is_scaled_by_its_gate(
    maker, agrees, randomise, batch, channels, height, width, reduction, bias, seed
):
    module = randomise(SqueezeExcitation(channels, min(channels, reduction), bias=bias), seed)
    x = maker(seed + 1)(batch, channels, height, width)

    assert agrees(module(x), by_loops(module, x))


def test_a_silu_gate_bends_its_hidden_units_by_silu(maker, agrees, randomise):
    module, x = example(maker, randomise, activation="silu", bias=True)
    hidden = module.squeeze(x.mean((2, 3)))
    gate = torch.sigmoid(module.excite(hidden * torch.sigmoid(hidden)))

    assert agrees(module(x), x * gate[:, :, None, None])


def test_opposite_rescaling_changes_what_a_silu_gate_gives(maker, randomise):
    module, x = example(maker, randomise, activation="silu")
    out = module(x)
    with torch.no_grad():
        module.squeeze.weight.mul_(4)
        module.excite.weight.div_(4)

    assert not torch.allclose(module(x), out)


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

    assert torch.autograd.gradcheck(squeeze_excitation, [t.requires_grad_() for t in tensors])


@given(seed=seeds, bias=st.booleans())
def test_its_laws_hold(maker, agrees, randomise, seed, bias):
    module, x = randomise(SqueezeExcitation(12, 3, bias=bias), seed), maker(seed + 1)(2, 12, 5, 7)
    out = module(x)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(seed)).to(x.device)
    gate = out / x

    assert samples_do_not_mix(module, x)
    assert agrees(module(x.flatten(2)[..., order].view_as(x)), out.flatten(2)[..., order].view_as(x))
    assert agrees(module(x.mT), out.mT)
    assert agrees(module(x.tile(1, 1, 2, 3)), out.tile(1, 1, 2, 3))
    assert bool(((gate > 0) & (gate < 1)).all())
    assert gate_is_constant_over_space(module, x)
    assert gate_sees_only_the_mean(module, x)
    assert torch.equal(out.sign(), x.sign())
    assert not module(torch.zeros_like(x)).any()
    with torch.no_grad():
        for parameter in module.squeeze.parameters():
            parameter.mul_(4)
        module.excite.weight.div_(4)
    assert agrees(module(x), out)
    assert gate_depends_on_the_input(positive(module), x.abs() + 0.1)


def test_what_might_be_expected_does_not_hold(maker, randomise):
    module, x = example(maker, randomise)
    positive(module)
    one_pixel = x.clone()
    one_pixel[..., 0, 0] += 3
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == [
        "follows_channel_order", "pixels_do_not_mix", "scales_with_the_input", "ignores_opposite_rescaling",
    ]  # fmt: skip
    assert not torch.allclose(module(x.flip(1)), module(x).flip(1))
    assert not torch.allclose(module(one_pixel)[..., 1:, 1:], module(x)[..., 1:, 1:])
    assert not torch.allclose(module(3 * x), 3 * module(x))


class ArticleGate(nn.Module):
    """The article's form, where no hidden unit is left if reduction > channels (SE-2, CH-1)."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def pool(self, x):
        return x.mean(dim=(2, 3))

    def forward(self, x):
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(self.pool(x)))))
        return x * gate[:, :, None, None]


class PoolsMaximum(ArticleGate):
    """CH-4."""

    def pool(self, x):
        return x.amax(dim=(2, 3))


class PoolsBatch(ArticleGate):
    """CH-4."""

    def pool(self, x):
        return x.mean(dim=(0, 2, 3))[None].expand(x.shape[0], -1)


class ForgetsToPool(ArticleGate):
    """CH-3."""

    def forward(self, x):
        last = x.movedim(1, -1)
        return (last * torch.sigmoid(self.excite(torch.relu(self.squeeze(last))))).movedim(-1, 1)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_gate_without_hidden_units_is_seen(maker, randomise):
    x = maker(0)(2, 12, 5, 7).abs() + 0.1
    article = positive(randomise(ArticleGate(12, 13)))

    assert article(x).equal(x / 2)
    assert not gate_depends_on_the_input(article, x)
    assert gate_depends_on_the_input(positive(randomise(SqueezeExcitation(12, 12))), x)


@pytest.mark.parametrize(
    ("mistake", "law"),
    [
        (PoolsMaximum, gate_sees_only_the_mean),
        (PoolsBatch, samples_do_not_mix),
        (ForgetsToPool, gate_is_constant_over_space),
    ],
)
def test_the_law_that_sees_a_mistake(maker, randomise, mistake, law):
    x = maker(0)(2, 12, 5, 7).abs() + 0.1

    assert not law(positive(randomise(mistake(12, 3))), x)
    assert law(positive(randomise(SqueezeExcitation(12, 3))), x)


def test_layers_are_as_wide_as_the_squeeze():
    """CH-2: reduction is a ratio, not the width; 12 // 3 = 4 tells them apart."""
    module = SqueezeExcitation(12, 3)

    assert module.squeeze.weight.shape == (4, 12)
    assert module.excite.weight.shape == (12, 4)
    assert [name for name, _ in module.named_parameters()] == ["squeeze.weight", "excite.weight"]


@pytest.mark.parametrize(("channels", "reduction"), [(5, 7), (5, 0), (5, -1), (0, 1)])
def test_a_squeeze_that_leaves_nothing_is_refused(channels, reduction):
    message = (
        "squeeze_excitation: channels // reduction must be at least 1, "
        f"got channels={channels}, reduction={reduction}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SqueezeExcitation(channels, reduction)


def test_wrong_channels_are_named():
    message = "SqueezeExcitation: x has channels=5, but channels is 3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        SqueezeExcitation(3, 1)(torch.zeros(2, 5, 3, 3))


def test_inputs_are_left_alone(maker, randomise):
    module, x = example(maker, randomise)
    before = x.clone()

    module(x)

    assert torch.equal(x, before)
