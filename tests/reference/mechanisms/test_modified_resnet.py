"""The modified ResNet against a composition of torch's functions, and the source article's network."""

import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from attnref import ShapeError
from attnref.mechanisms.modified_resnet import ModifiedResnet

blocks = pytest.mark.parametrize("block", ["bottleneck", "basic"])


def halved(x):
    """Means over squares of two by slicing; an odd last row or column is dropped."""
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def normed(norm, x):
    mean, weight, bias = (t[:, None, None] for t in (norm.running_mean, norm.weight, norm.bias))
    return (x - mean) / (norm.running_var[:, None, None] + norm.eps).sqrt() * weight + bias


def block_by_functions(block, x):
    """One block in evaluation, the pool after the 3×3 convolution that comes first."""
    convolutions = [layer for layer in block.main if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in block.main if isinstance(layer, nn.BatchNorm2d)] + [block.norm]
    pooled_after = {2: 0, 3: 1}[len(convolutions)]
    main = x
    for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        side = convolution.weight.shape[-1]
        main = normed(norm, functional.conv2d(main, convolution.weight, padding=(side - 1) // 2))
        main = main.clamp(min=0) if index + 1 < len(norms) else main
        main = halved(main) if block.stride == 2 and index == pooled_after else main
    skip = x
    if not isinstance(block.skip, nn.Identity):
        _, convolution, norm = block.skip
        skip = halved(x) if block.stride == 2 else x
        skip = normed(norm, torch.einsum("bchw,oc->bohw", skip, convolution.weight[:, :, 0, 0]))
    return (main + skip).clamp(min=0)


def trunk_by_functions(module, x):
    """Everything before the head, in evaluation."""
    for index, stride in ((0, 2), (3, 1), (6, 1)):
        convolution, norm = module.stem[index], module.stem[index + 1]
        x = normed(norm, functional.conv2d(x, convolution.weight, stride=stride, padding=1)).clamp(min=0)
    x = halved(x)
    for block in module.stages:
        x = block_by_functions(block, x)
    return x


def attention_by_torch(head, tokens, queries):
    """Torch's multi-head attention, length first."""
    out, _ = functional.multi_head_attention_forward(
        query=queries, key=tokens, value=tokens,
        embed_dim_to_check=head.channels, num_heads=head.heads,
        q_proj_weight=head.query.weight, k_proj_weight=head.key.weight,
        v_proj_weight=head.value.weight, in_proj_weight=None,
        in_proj_bias=torch.cat([head.query.bias, head.key.bias, head.value.bias]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=head.output.weight, out_proj_bias=head.output.bias,
        use_separate_proj_weight=True, training=False, need_weights=False,
    )  # fmt: skip
    return out


def by_functions(module, x):
    """The network in evaluation: the mean of the last map asks, the mean and all pixels answer."""
    pixels = trunk_by_functions(module, x).flatten(2).permute(2, 0, 1)
    tokens = torch.cat([pixels.mean(0, keepdim=True), pixels]) + module.head.position[:, None]
    return attention_by_torch(module.head, tokens, tokens[:1])[0]


def article(module, x):
    """RN-4, RN-5: the last map is flattened, and what was the batch is read as a sequence."""
    flat = trunk_by_functions(module, x).flatten(1)[:, None]
    return attention_by_torch(module.head, flat, flat)[:, 0]


def right(module, x):
    return module(x)


def network(maker, randomise, batch=3, height=31, width=67, **options):
    """A small network in evaluation, with statistics of its own in every norm."""
    module = randomise(ModifiedResnet(3, 4, 4, 5, height=height, width=width, **options)).eval()
    draw = maker(1)
    with torch.no_grad():
        for parameter in module.parameters():
            # Sums keep the size of their terms: else rectifiers die, and softmax picks one token.
            parameter.div_((parameter[0].numel() / 3) ** 0.5)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.mul_(0.3).add_(1.0), layer.bias.mul_(0.3).add_(0.1)
                layer.running_mean.copy_(draw(layer.num_features) / 4)
                layer.running_var.copy_(draw(layer.num_features).square() + 0.5)
    # Noise alone averages out on its way to the head: each sample has a colour, too.
    return module, maker(0)(batch, 3, height, width) + 2 * maker(2)(batch, 3, 1, 1)


@blocks
def test_the_network_is_alive(maker, randomise, block):
    """No law means anything for a network whose rectifiers let nothing through."""
    module, x = network(maker, randomise, block=block)

    (gradient,) = torch.autograd.grad(module(x.requires_grad_()).square().sum(), x)

    assert (gradient != 0).double().mean() > 0.5


@settings(max_examples=10)
@example(batch=2, height=31, width=67, block="bottleneck", stages=4, deep=1)
@example(batch=2, height=31, width=67, block="basic", stages=4, deep=1)
@example(batch=2, height=31, width=67, block="basic", stages=1, deep=0)
@given(
    batch=st.integers(1, 2), height=st.integers(31, 64), width=st.integers(31, 64),
    block=st.sampled_from(["bottleneck", "basic"]), stages=st.integers(1, 4), deep=st.integers(0, 3),
)  # fmt: skip
def test_it_is_stem_pool_stages_and_attention_pool(
    maker, agrees, randomise, batch, height, width, block, stages, deep
):
    layers = tuple(2 if stage == deep else 1 for stage in range(stages))
    module, x = network(maker, randomise, batch, height, width, stages=stages, layers=layers, block=block)

    assert agrees(module(x), by_functions(module, x))


@blocks
def test_three_convolutions_make_the_stem_and_none_but_the_first_strides(block):
    """RN-1, RN-2, RN-3: the article has one in the stem, and strides in the stages."""
    module = ModifiedResnet(3, 4, 2, 5, height=64, width=96, block=block)
    strides = [layer.stride for layer in module.modules() if isinstance(layer, nn.Conv2d)]

    assert [layer.kernel_size for layer in module.stem if isinstance(layer, nn.Conv2d)] == [(3, 3)] * 3
    assert strides == [(2, 2)] + [(1, 1)] * (len(strides) - 1)
    assert (module.head.height, module.head.width) == (2, 3)


@pytest.mark.parametrize(("stages", "least"), [(1, 3), (2, 7), (3, 15), (4, 31), (5, 63)])
def test_each_stage_but_the_first_doubles_the_width_and_halves_the_map(stages, least):
    module = ModifiedResnet(3, 4, 4, 5, height=least, width=2 * least + 1, stages=stages)

    assert len(module.layers) == stages
    assert module.head.channels == 4 * 2 ** (stages - 1) * 4
    assert (module.head.height, module.head.width) == (1, 2)
    with pytest.raises(ValueError, match=f"^modified_resnet: height and width must be at least {least}, or"):
        ModifiedResnet(3, 4, 4, 5, height=least - 1, width=least, stages=stages)


@pytest.mark.parametrize(("form", "lawful"), [(right, True), (article, False)])
def test_samples_do_not_mix(maker, agrees, randomise, form, lawful):
    """RN-5: at sizes where the article's head runs, samples attend to each other."""
    module, x = network(maker, randomise, width=37)

    assert agrees(form(module, x)[:1], form(module, x[:1])) is lawful


def test_a_map_of_several_pixels_is_pooled_not_flattened(maker, randomise):
    """RN-4: flattened, it does not fit the head."""
    module, x = network(maker, randomise, height=64, width=64)
    with pytest.raises(AssertionError, match="expecting embedding dimension of 128, but got 512"):
        article(module, x)

    assert module(x).shape == (3, 5)


def test_samples_mix_while_batch_norm_trains(maker, agrees, randomise):
    """The broken law of the contract."""
    module, x = network(maker, randomise)
    module.train()

    assert not agrees(module(x)[:2], module(x[:2]))


@blocks
def test_a_norm_of_zero_hides_the_main_path(maker, agrees, randomise, block):
    module, x = network(maker, randomise, block=block)
    module.stages[0].norm.weight.data.zero_()
    before = module(x)

    for parameter in module.stages[0].main.parameters():
        parameter.data.mul_(-2).add_(1)

    assert agrees(module(x), before)


def test_the_head_obeys_the_laws_of_attention_pooling(maker, agrees, randomise):
    module, x = network(maker, randomise)
    before, head = module(x), module.head

    head.key.bias.data.add_(1)
    assert agrees(module(x), before)

    for tensor in (*head.query.parameters(), head.key.weight, head.key.bias):
        tensor.data.mul_(2 if any(tensor is p for p in head.query.parameters()) else 0.5)
    assert agrees(module(x), before)

    head.value.weight.data.mul_(-1.5), head.value.bias.data.mul_(-1.5)
    assert agrees(module(x), head.output.bias - 1.5 * (before - head.output.bias))

    head.value.weight.data.zero_(), head.value.bias.data.fill_(1)
    assert agrees(module(x), (head.output.weight.sum(1) + head.output.bias).expand(3, 5))


def test_the_order_of_pixels_counts(maker, agrees, randomise):
    """The broken law of the contract."""
    module, x = network(maker, randomise)

    assert not agrees(module(x.flip(3)), module(x))


@blocks
def test_an_empty_batch_stays_empty(maker, randomise, block):
    """RN-11."""
    module, x = network(maker, randomise, batch=0, block=block)

    assert module(x).shape == (0, 5)


@blocks
def test_batch_norm_trains_on_more_than_one_pixel(maker, randomise, block):
    """RN-12: the article's limit is that of batch norm, and a larger map or batch lifts it."""
    small, x = network(maker, randomise, batch=1, width=37, block=block)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        small.train()(x)

    large, wide = network(maker, randomise, batch=1, width=67, block=block)

    assert large.train()(wide).isfinite().all()
    assert small(torch.cat([x, -x])).isfinite().all()


@blocks
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, block):
    module, x = network(maker, randomise, block=block)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    # From image to answer there are about 30 roundings; independent ones add up to √30 = 5.5 of
    # them, and `agrees` allows for 16.
    assert agrees(out, module.double()(x.double()))


@blocks
def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters, block):
    """RN-9: the article's bottlenecks never run."""
    module, x = network(maker, randomise, block=block)

    module.train()(x).square().sum().backward()

    # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
    assert module.head.key.bias.grad.abs().max() < 1e-9
    module.head.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"hidden": 1},
            "modified_resnet: channels and classes must be at least 1 and hidden at least 2, got "
            "channels=3, classes=5, hidden=1",
        ),
        (
            {"height": 30},
            "modified_resnet: height and width must be at least 31, or no pixel reaches the head, "
            "got height=30, width=67",
        ),
        (
            {"layers": (1, 0, 1, 1)},
            "modified_resnet: layers must be a count of at least 1 for each of stages=4, got layers=(1, 0, 1, 1)",
        ),
        (
            {"layers": (3, 4)},
            "modified_resnet: layers must be a count of at least 1 for each of stages=4, got layers=(3, 4)",
        ),
        (
            {"stages": 0},
            "modified_resnet: layers must be a count of at least 1 for each of stages=0, got layers=()",
        ),
        (
            {"heads": 5},
            "modified_resnet: heads must divide the 128 channels of the last stage, got "
            "heads=5, hidden=4, block='bottleneck'",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(changed, message):
    """RN-8: a map that vanishes on the way is refused when the network is built."""
    sizes = {"channels": 3, "hidden": 4, "heads": 4, "classes": 5, "height": 31, "width": 67}

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ModifiedResnet(**sizes | changed)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 67, 31), "ModifiedResnet: x has height=67, but height is 31"),
        ((2, 1, 31, 67), "ModifiedResnet: x has channels=1, but channels is 3"),
    ],
)
def test_a_wrong_call_is_explained_in_axes(device, shape, message):
    with pytest.raises(ShapeError) as error:
        ModifiedResnet(3, 4, 4, 5, height=31, width=67).to(device)(torch.ones(shape, device=device))

    assert str(error.value) == message
