"""Channel self-attention against loops over channels, and what published copies get wrong."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.channel_self import ChannelSelf

batches, sizes = st.integers(0, 3), st.integers(1, 4)
ARTICLE = {"projected": True, "skip": "convolution"}


@torch.no_grad()
def by_loops(module, x):
    """One pair of channels at a time, in Python floats."""
    q, k, v, out = module.query(x), module.key(x), module.value(x), module.skip(x).clone()
    for n, i in ((n, i) for n in range(x.shape[0]) for i in range(q.shape[1])):
        energies = [float((q[n, i] * k[n, j]).sum()) for j in range(q.shape[1])]
        if module.energy == "max_minus_product":
            energies = [max(energies) - energy for energy in energies]
        powers = [math.exp(energy) for energy in energies]
        for j, power in enumerate(powers):
            out[n, i] += module.gamma[0] * power / sum(powers) * v[n, j]
    return out


@given(
    batch=batches, channels=sizes, out_channels=sizes, height=sizes, width=sizes, projected=st.booleans(),
    bias=st.booleans(), skip=st.sampled_from(["identity", "convolution"]),
    energy=st.sampled_from(["product", "max_minus_product"]),
)  # fmt: skip
def test_it_adds_to_every_channel_what_that_channel_reads(
    maker, agrees, randomise, batch, channels, out_channels, height, width, projected, bias, skip, energy
):
    wide = out_channels if projected and skip == "convolution" else None
    module = randomise(
        ChannelSelf(channels, out_channels=wide, energy=energy, projected=projected, skip=skip, bias=bias)
    )
    x = maker(1)(batch, channels, height, width)

    out, weights = module(x, need_weights=True)

    assert agrees(out, by_loops(module, x))
    assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))


def example(maker, randomise, **options):
    """As many channels as pixels and rows as channels of the batch, so that no mistake crashes."""
    return randomise(ChannelSelf(6, **options)), maker(0)(5, 6, 3, 2)


def right(module, x):
    return module(x)


def attend(module, x, mix):
    q, k, v = (layer(x).flatten(2) for layer in (module.query, module.key, module.value))
    return module.gamma * mix(q, k, v).reshape(x.shape) + module.skip(x)


def transposed_weights(module, x):
    """SM-4: what a channel gives is taken for what it reads."""
    return attend(module, x, lambda q, k, v: torch.softmax(q @ k.mT, -1).mT @ v)


def softmax_over_queries(module, x):
    """SM-1: columns, not rows, sum to one."""
    return attend(module, x, lambda q, k, v: torch.softmax(q @ k.mT, 1) @ v)


def over_pixels(module, x):
    """Pixels attend to pixels: another mechanism, with the same shapes."""
    return attend(module, x, lambda q, k, v: v @ torch.softmax(q.mT @ k, -1).mT)


def over_the_batch(module, x):
    """The energy is summed over the samples as well."""
    return attend(module, x, lambda q, k, v: torch.softmax((q @ k.mT).sum(0, keepdim=True), -1) @ v)


EVERY = (right, transposed_weights, softmax_over_queries, over_pixels, over_the_batch)


def except_for(*mistakes):
    """Each form of the mechanism, and whether the law holds for it."""
    return pytest.mark.parametrize(("form", "lawful"), [(f, f not in mistakes) for f in EVERY])


@except_for(over_the_batch)
def test_samples_do_not_mix(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)

    assert agrees(form(module, x)[1:2], form(module, x[1:2])) is lawful


@pytest.mark.parametrize("form", EVERY)
def test_pixel_order_transposition_and_channel_order_are_followed(maker, agrees, randomise, form):
    """These hold for attention over pixels too, and so tell the two apart from neither side."""
    module, x = example(maker, randomise)
    order = torch.tensor([4, 0, 5, 2, 1, 3], device=x.device)

    def shuffled(image):
        return image.flatten(2)[:, :, order].reshape(image.shape)

    assert agrees(form(module, shuffled(x)), shuffled(form(module, x)))
    assert agrees(form(module, x.mT.contiguous()), form(module, x).mT)
    assert agrees(form(module, x[:, order]), form(module, x)[:, order])


@except_for(transposed_weights, softmax_over_queries)
def test_equal_values_hide_the_weights(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise, projected=True)
    module.value.weight.data.zero_(), module.value.bias.data.fill_(1)

    assert agrees(form(module, x), module.gamma + x) is lawful


@except_for(over_pixels)
def test_equal_channels_read_themselves(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    x = x[:, :1].expand(x.shape)

    assert agrees(form(module, x), x + module.gamma * x) is lawful


@except_for(over_pixels)
def test_zero_keys_add_the_mean_over_channels(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise, projected=True)
    module.key.weight.data.zero_(), module.key.bias.data.zero_()

    mean = module.value(x).mean(1, keepdim=True)

    assert agrees(form(module, x), module.gamma * mean + x) is lawful


def article(module, x):
    """SC-1: a convolution in the skip, said to be the input feature."""
    return attend(module, x, lambda q, k, v: torch.softmax(q @ k.mT, -1) @ v)


@pytest.mark.parametrize(("skip", "lawful"), [("identity", True), ("convolution", False)])
def test_gamma_of_zero_gives_the_input(maker, agrees, randomise, skip, lawful):
    """SC-1, the broken law of the contract: a convolution in the skip is not the input."""
    module, x = example(maker, randomise, projected=True, skip=skip)
    assert agrees(article(module, x), module(x))

    module.gamma.data.zero_()

    assert agrees(module(x), x) is lawful
    assert not ChannelSelf(3).gamma.any()


def test_the_output_moves_along_a_line_with_gamma_and_with_the_values(maker, agrees, randomise):
    module, x = example(maker, randomise, projected=True)

    def at(gamma):
        module.gamma.data.fill_(gamma)
        return module(x).detach()

    once = at(1.0)
    assert agrees(at(-3.0), x - 3 * (once - x))
    module.value.weight.data.mul_(3), module.value.bias.data.mul_(3)
    assert agrees(at(-1.0), x - 3 * (once - x))


def test_queries_times_two_and_keys_by_two_change_nothing(maker, agrees, randomise):
    module, x = example(maker, randomise, projected=True)
    before = module(x)

    module.query.weight.data.mul_(2), module.query.bias.data.mul_(2)
    module.key.weight.data.div_(2), module.key.bias.data.div_(2)

    assert agrees(module(x), before)


@pytest.mark.parametrize("energy", ["product", "max_minus_product"])
def test_the_most_similar_channel_weighs_most_unless_the_maximum_is_subtracted_from(maker, randomise, energy):
    """CH-14: the code of DANet and its paper rank channels in opposite orders."""
    module, x = example(maker, randomise, energy=energy)
    products = (x.flatten(2) @ x.flatten(2).mT).argsort(-1)

    _, weights = module(x, need_weights=True)

    ranked = weights.argsort(-1, descending=energy == "max_minus_product")
    assert torch.equal(ranked, products)


def test_a_tiled_image_sharpens_the_weights(maker, agrees, randomise):
    """SC-3, the broken law of the contract: the energy grows with the number of pixels."""
    module, x = example(maker, randomise)

    out, weights = module(x, need_weights=True)
    tiled_out, tiled_weights = module(x.tile(1, 1, 2, 2), need_weights=True)

    assert not agrees(tiled_out, out.tile(1, 1, 2, 2))
    assert tiled_weights.amax(-1).mean() > weights.amax(-1).mean()


def test_a_bias_on_the_keys_counts(maker, agrees, randomise):
    """The broken law of the contract: the bias of a channel moves one energy of each row."""
    module, x = example(maker, randomise, projected=True)
    before = module(x)

    module.key.bias.data.add_(maker(2)(6))

    assert not agrees(module(x), before)


def test_large_maps_overflow_float16_but_not_bfloat16(maker, randomise):
    """SC-3: energies have no scale, in the paper too; the range of the dtype is the limit."""
    module, _ = example(maker, randomise)
    x = 30 * maker(3)(2, 6, 20, 20).sign()

    assert module.half()(x.half()).isnan().any()
    assert module.bfloat16()(x.bfloat16()).isfinite().all()


def test_an_empty_batch_stays_empty(device):
    """SC-4: a view with -1 cannot say what an empty batch looks like."""
    empty = torch.ones(0, 6, 3, 2, device=device)
    with pytest.raises(RuntimeError, match="0 elements"):
        empty.view(0, -1, 6)

    out, weights = ChannelSelf(6, out_channels=5, **ARTICLE).to(device)(empty, need_weights=True)

    assert out.shape == (0, 5, 3, 2)
    assert weights.shape == (0, 5, 5)


@pytest.mark.parametrize("options", [{}, {"energy": "max_minus_product"}, ARTICLE])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, options):
    module, x = example(maker, randomise, **options)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("options", [{}, {"projected": True}, ARTICLE])
def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters, options):
    module, x = example(maker, randomise, **options)

    module(x).square().sum().backward()

    assert silent_parameters(module) == []


@pytest.mark.parametrize("energy", ["product", "max_minus_product"])
def test_gradients_are_those_of_finite_differences(maker, randomise, energy):
    module, x = example(maker, randomise, energy=energy, **ARTICLE)

    assert torch.autograd.gradcheck(module, (x[:2].requires_grad_(),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"out_channels": 0},
            "channel_self: channels and out_channels must be at least 1, got channels=6, out_channels=0",
        ),
        (
            {"out_channels": 5, "projected": True},
            "channel_self: out_channels may differ from channels only if projected and with "
            "skip='convolution', got channels=6, out_channels=5",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    """SC-4: a layer without channels is refused when it is built, not when it is called."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ChannelSelf(6, **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3, 2), "ChannelSelf: x has channels=5, but channels is 6"),
        (
            (2, 6, 3),
            "ChannelSelf: x must be (batch, {self.channels}, height, width), got rank 3: (2, 6, 3)",
        ),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, shape, message):
    with pytest.raises(ShapeError) as error:
        ChannelSelf(6).to(device)(torch.ones(shape, device=device))

    assert str(error.value) == message
