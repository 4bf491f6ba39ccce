"""The residual block with CBAM: its parts written out, its laws, the article's mistakes, its messages."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attnref import ShapeError
from attnref.mechanisms.cbam_block import MECHANISM, CbamBlock, cbam_block

sides = st.integers(1, 6)
seeds = st.integers(0, 99)
odd = st.sampled_from([1, 3, 5])


def windows(x, side, stride, fill):
    """Every window of the padded map: `batch channels rows columns side side`."""
    padded = F.pad(x, (side // 2,) * 4, value=fill)
    return padded.unfold(2, side, stride).unfold(3, side, stride)


def convolve(x, conv):
    cut = windows(x, conv.kernel_size[0], conv.stride[0], 0.0)
    out = torch.tensordot(cut, conv.weight, dims=([1, 4, 5], [1, 2, 3])).movedim(-1, 1)
    return out if conv.bias is None else out + conv.bias[:, None, None]


def apply(x, layer):
    return x @ layer.weight.T + (0.0 if layer.bias is None else layer.bias)


def normalise(x, norm):
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    column = (slice(None), None, None)
    scaled = (x - mean[column]) / (var[column] + norm.eps).sqrt()
    return scaled * norm.weight[column] + norm.bias[column]


@torch.no_grad()
def written_out(module, x, skip):
    """The block without torch's convolution, pooling or batch norm."""
    y = normalise(convolve(x, module.conv), module.norm).clamp(min=0)
    hidden = [apply(p, module.channel.squeeze).clamp(min=0) for p in (y.mean((2, 3)), y.amax((2, 3)))]
    logits = sum(apply(h, module.channel.excite) for h in hidden)
    y = y * torch.sigmoid(logits)[..., None, None]
    maps = [y.mean(1), y.amax(1)]
    maps = torch.stack(maps[::-1] if module.spatial.maximum_first else maps, 1)
    logits = convolve(maps, module.spatial.conv)
    y = y * torch.sigmoid(normalise(logits, module.spatial.norm) if module.spatial.norm else logits)
    if skip == "pooled":
        x = windows(x, 3, module.stride, -torch.inf).amax((-1, -2))
    if not isinstance(module.skip, nn.Identity):
        x = convolve(x, module.skip.conv)
    return (y + x).clamp(min=0)


def samples_do_not_mix(call, x):
    changed = torch.cat([x[:1], x[1:] + 1])
    return torch.allclose(call(changed)[0], call(x)[0], rtol=1e-9, atol=1e-12)


def example(maker, lived, channels=12, out_channels=12, **options):
    module = lived(CbamBlock(channels, out_channels, reduction=3, **options))
    return module, maker(1)(2, channels, 5, 7)


@given(
    batch=st.integers(0, 3), channels=st.integers(1, 4), out_channels=st.integers(1, 4), height=sides,
    width=sides, kernel=odd, gate_kernel=odd, stride=st.integers(1, 3), reduction=st.integers(1, 4),
    skip=st.sampled_from(["projection", "pooled"]), bias=st.booleans(), training=st.booleans(), seed=seeds,
    gates=st.fixed_dictionaries(dict.fromkeys(("gate_bias", "maximum_first", "gate_norm"), st.booleans())),
)  # fmt: skip
def test_it_is_the_sum_of_gated_features_and_skip(
    maker, agrees, lived, batch, channels, out_channels, height, width, kernel, gate_kernel, stride,
    reduction, skip, bias, training, seed, gates,
):  # fmt: skip
    rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
    training = training and batch * rows * columns > 1
    module = CbamBlock(
        channels, out_channels, kernel=kernel, gate_kernel=gate_kernel, stride=stride,
        reduction=min(reduction, out_channels), skip=skip, bias=bias, **gates,
    )  # fmt: skip
    lived(module, seed).train(training)
    x = maker(seed + 1)(batch, channels, height, width)

    out = module(x)

    assert out.shape == (batch, out_channels, rows, columns)
    assert agrees(out, written_out(module, x, skip))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("skip", ["projection", "pooled"])
def test_low_precision_stays_near_float64(maker, agrees, lived, dtype, skip):
    module, x = example(maker, lived, out_channels=6, stride=2, skip=skip)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("skip", ["projection", "pooled"])
@pytest.mark.parametrize("training", [False, True])
def test_one_backward_reaches_every_parameter(maker, lived, silent_parameters, skip, training):
    module, x = example(maker, lived, out_channels=6, stride=2, skip=skip)

    module.train(training)(x).square().sum().backward()

    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(0)
    tensors = (draw(2, 4, 3, 2).abs(), draw(2, 4, 3, 2), draw(3, 4), draw(4, 3), draw(1, 2, 3, 3))

    assert torch.autograd.gradcheck(cbam_block, [t.requires_grad_() for t in tensors])


@given(
    seed=seeds,
    training=st.booleans(),
    stride=st.integers(1, 2),
    skip=st.sampled_from(["projection", "pooled"]),
)
def test_its_laws_hold(maker, agrees, lived, randomise, seed, training, stride, skip):
    module = lived(CbamBlock(6, 8, reduction=2, stride=stride, skip=skip), seed)
    x = maker(seed + 1)(3, 6, 5, 7)

    assert samples_do_not_mix(module, x)
    module.train(training)
    out = module(x)
    assert agrees(module(x.flip(0)), out.flip(0))
    assert agrees(module(x.repeat(2, 1, 1, 1)), out.repeat(2, 1, 1, 1))
    assert bool((out >= 0).all())
    with torch.no_grad():
        module.norm.weight.zero_()
        module.norm.bias.zero_()
    rest = module(x)
    randomise(module.channel, seed + 7)
    randomise(module.spatial, seed + 7)
    assert torch.equal(module(x), rest)


@given(seed=seeds, training=st.booleans())
def test_laws_of_the_identity_hold_where_shapes_agree(maker, lived, seed, training):
    module = lived(CbamBlock(6, 6, reduction=2), seed).train(training)
    x = maker(seed + 1)(3, 6, 5, 7)

    assert bool((module(x) >= x.clamp(min=0)).all())
    with torch.no_grad():
        module.norm.weight.zero_()
        module.norm.bias.zero_()
    assert torch.equal(module(x), x.clamp(min=0))


def test_what_might_be_expected_does_not_hold(maker, lived):
    module, x = example(maker, lived)
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == ["samples_do_not_mix", "follows_pixel_order", "zero_input_gives_zero"]
    assert not torch.allclose(module(x.roll(1, -1)), module(x).roll(1, -1))
    assert module(torch.zeros_like(x)).any()
    assert not samples_do_not_mix(module.train(), x)


def test_the_skip_is_the_input_only_where_shapes_agree():
    assert isinstance(CbamBlock(6, 6, reduction=2).skip, nn.Identity)
    assert CbamBlock(6, 6, reduction=2, stride=2).skip.conv.stride == (2, 2)
    assert CbamBlock(6, 8, reduction=2).skip.conv.weight.shape == (8, 6, 1, 1)
    assert CbamBlock(6, 6, reduction=2, skip="pooled").skip.conv.weight.shape == (6, 6, 1, 1)
    assert CbamBlock(6, 6, reduction=2, kernel=5).gate_kernel == 5


@pytest.mark.parametrize("kernel", [5, 7])
def test_the_articles_pool_crashes_where_this_one_runs(kernel):
    """CB-1: the pool takes its padding from the kernel of the convolution."""
    x = torch.zeros(2, 6, 11, 13)

    with pytest.raises(RuntimeError, match="pad should be at most half of effective kernel size"):
        nn.MaxPool2d(3, 2, padding=kernel // 2)(x)
    block = CbamBlock(6, 8, kernel=kernel, stride=2, reduction=2, skip="pooled")
    assert block(x).shape == (2, 8, 6, 7)


class PermutesTwice(nn.Module):
    """CB-2: the layout is turned once around the block and once more inside each gate."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        block, x = self.block, x.transpose(0, 1)
        y = torch.relu(block.norm(block.conv(x)))
        y = block.spatial(block.channel(y.transpose(0, 1)).transpose(0, 1))
        return torch.relu(y + block.skip(x)).transpose(0, 1)


def test_a_layout_turned_twice_is_seen(maker, lived):
    """CB-2 runs where batch and out_channels are equal; samples then leak into each other."""
    block = lived(CbamBlock(5, 8, reduction=2))
    article = PermutesTwice(block)
    x = maker(1)(8, 5, 3, 7)

    assert not samples_do_not_mix(lambda y: article(y.transpose(0, 1)).transpose(0, 1), x)
    assert samples_do_not_mix(block, x)
    with pytest.raises(ShapeError, match=r"^CbamChannel: x has channels=4, but channels is 8$"):
        article(x[:4].transpose(0, 1))


def test_a_residual_inside_the_module_is_seen(maker):
    """CH-11: shows as soon as both gates are shut to one half and there is no skip."""
    draw = maker(0)
    features, nothing = draw(2, 4, 3, 5).abs(), torch.zeros_like(draw(2, 4, 3, 5))
    shut = (draw(2, 4), torch.zeros_like(draw(4, 2)), torch.zeros_like(draw(1, 2, 3, 3)))

    assert torch.equal(cbam_block(features, nothing, *shut), features / 4)


def test_the_channel_gate_comes_first(maker, agrees):
    """CH-11: the other order differs, because each gate sees what the other left."""
    draw = maker(0)
    features, skip = draw(2, 4, 3, 5).abs(), draw(2, 4, 3, 5)
    squeeze, excite, gate = draw(3, 4).abs(), draw(4, 3), draw(1, 2, 3, 3)
    spatial_first = features * torch.sigmoid(
        F.conv2d(torch.stack([features.mean(1), features.amax(1)], 1), gate, padding=1)
    )
    pools = (spatial_first.mean((2, 3)), spatial_first.amax((2, 3)))
    logits = sum((p @ squeeze.T).relu() @ excite.T for p in pools)
    other = torch.relu(spatial_first * logits.sigmoid()[..., None, None] + skip)

    assert not agrees(cbam_block(features, skip, squeeze, excite, gate), other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "cbam_block: kernel must be odd and positive, got kernel=4"),
        ({"gate_kernel": 2}, "cbam_block: gate_kernel must be odd and positive, got gate_kernel=2"),
        ({"stride": 0}, "cbam_block: stride must be at least 1, got stride=0"),
        (
            {"reduction": 11},
            "cbam_block: out_channels // reduction must be at least 1, got out_channels=7, reduction=11",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    """CB-3 among them: the article only warns where the gate has no hidden unit."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CbamBlock(5, 7, **{"reduction": 2, **options})


def test_a_map_without_pixels_is_refused():
    message = "cbam_block: height and width must be at least 1, got height=0, width=3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        CbamBlock(5, 7, reduction=2)(torch.zeros(2, 5, 0, 3))
