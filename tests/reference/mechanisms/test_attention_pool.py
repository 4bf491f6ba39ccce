"""Attention pooling against torch's own multi-head attention, and what copies of it get wrong."""

import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from attnref import ShapeError
from attnref.mechanisms.attention_pool import AttentionPool, attention_pool

AXES = "batch, {self.channels}, {self.height}, {self.width}"
batches, sizes = st.integers(0, 3), st.integers(1, 4)


def by_torch(module, tokens, queries):
    """Torch's multi-head attention, length first, on tokens made elsewhere."""
    out, _ = functional.multi_head_attention_forward(
        queries, tokens, tokens, module.channels, module.heads,
        in_proj_weight=None, use_separate_proj_weight=True, q_proj_weight=module.query.weight,
        k_proj_weight=module.key.weight, v_proj_weight=module.value.weight,
        in_proj_bias=torch.cat([module.query.bias, module.key.bias, module.value.bias]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0, training=False,
        out_proj_weight=module.output.weight, out_proj_bias=module.output.bias,
    )  # fmt: skip
    return out[0]


def tokens_of(x):
    """Mean and pixels, length first, by slicing."""
    pixels = [x[:, :, i, j] for i in range(x.shape[2]) for j in range(x.shape[3])]
    return torch.stack([sum(pixels) / len(pixels), *pixels])


@given(batch=batches, heads=sizes, head_dim=sizes, height=sizes, width=sizes, classes=sizes)
def test_the_mean_asks_and_all_tokens_answer(
    maker, agrees, randomise, batch, heads, head_dim, height, width, classes
):
    module = randomise(AttentionPool(heads * head_dim, heads, height=height, width=width, classes=classes))
    x = maker(1)(batch, heads * head_dim, height, width)
    tokens = tokens_of(x) + module.position[:, None]

    out, weights = module(x, need_weights=True)

    assert weights.shape == (batch, heads, height * width + 1)
    assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))
    if batch:  # torch's function refuses an empty batch
        assert agrees(out, by_torch(module, tokens, tokens[:1]))
    else:
        assert out.shape == (0, classes)


def example(maker, randomise):
    return randomise(AttentionPool(6, 2, height=3, width=2)), maker(0)(5, 6, 3, 2)


def right(module, x):
    return module(x)


def last_token_asks(module, x):
    """CH-20: the last pixel asks instead of the mean."""
    tokens = tokens_of(x) + module.position[:, None]
    return by_torch(module, tokens, tokens[-1:])


def position_alone_asks(module, x):
    """CH-20, RN-10: a learned token asks, and the mean is not even a key."""
    tokens = tokens_of(x) * torch.tensor([0] + [1] * 6, device=x.device)[:, None, None]
    return by_torch(module, tokens + module.position[:, None], module.position[:1, None].expand(1, 5, 6))


def mean_after_positions(module, x):
    """CH-20: the mean is taken of pixels that have their positions already."""
    pixels = tokens_of(x)[1:] + module.position[1:, None]
    tokens = torch.cat([pixels.mean(0, keepdim=True) + module.position[:1, None], pixels])
    return by_torch(module, tokens, tokens[:1])


def mean_without_position(module, x):
    """CH-20: only the pixels get positions."""
    shift = torch.cat([torch.zeros_like(module.position[:1]), module.position[1:]])
    tokens = tokens_of(x) + shift[:, None]
    return by_torch(module, tokens, tokens[:1])


def mean_is_no_key(module, x):
    """CH-20: the mean asks, and only pixels answer."""
    tokens = tokens_of(x) + module.position[:, None]
    return by_torch(module, tokens[1:], tokens[:1])


def column_by_column(module, x):
    """CH-20: the map is flattened column by column."""
    tokens = tokens_of(x.mT) + module.position[:, None]
    return by_torch(module, tokens, tokens[:1])


def without_positions(module, x):
    """RN-10: positions are left out."""
    return by_torch(module, tokens_of(x), tokens_of(x)[:1])


def over_the_batch(module, x):
    """RN-5: samples are read as the tokens of one sequence, each asking for itself."""
    means = x.mean((2, 3)) + module.position[0]
    return torch.stack([by_torch(module, means[:, None], mean[None, None])[0] for mean in means])


def without_output(module, x):
    """RN-10: what the heads read is the answer."""
    bare = copy.deepcopy(module)
    bare.output.weight.data.copy_(torch.eye(6)), bare.output.bias.data.zero_()
    return bare(x)


MISTAKES = (
    last_token_asks, position_alone_asks, mean_after_positions, mean_without_position, mean_is_no_key,
    column_by_column, without_positions, over_the_batch, without_output,
)  # fmt: skip


def except_for(*mistakes):
    """Each form of the mechanism, and whether the law holds for it."""
    return pytest.mark.parametrize(("form", "lawful"), [(f, f not in mistakes) for f in (right, *MISTAKES)])


@pytest.mark.parametrize("form", MISTAKES)
def test_every_mistake_moves_the_answer(maker, agrees, randomise, form):
    module, x = example(maker, randomise)

    assert not agrees(form(module, x), module(x))


@except_for(over_the_batch)
def test_samples_do_not_mix(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    changed = x.clone()
    changed[3] += 1

    assert agrees(form(module, changed)[:3], form(module, x)[:3]) is lawful


@except_for(last_token_asks)
def test_without_positions_the_order_of_pixels_is_ignored(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    module.position.data.zero_()

    assert agrees(form(module, x.flip(2, 3)), form(module, x)) is lawful


@except_for(last_token_asks, column_by_column)
def test_pixels_may_change_places_if_their_positions_do(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    order = torch.tensor([4, 0, 5, 2, 1, 3], device=x.device)
    before = form(module, x)

    module.position.data[1:] = module.position.data[1:][order]

    assert agrees(form(module, x.flatten(2)[:, :, order].reshape(x.shape)), before) is lawful


@except_for(without_positions, over_the_batch)
def test_with_positions_the_order_of_pixels_counts(maker, agrees, randomise, form, lawful):
    """The broken law of the contract."""
    module, x = example(maker, randomise)

    assert (not agrees(form(module, x.flip(2)), form(module, x))) is lawful


@except_for(position_alone_asks, over_the_batch, without_output)
def test_zero_keys_and_positions_pool_the_mean(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    for parameter in (module.position, *module.key.parameters()):
        parameter.data.zero_()

    expected = module.output(module.value(x.mean((2, 3))))

    assert agrees(form(module, x), expected) is lawful


@pytest.mark.parametrize("axis", [2, 3])
def test_zero_keys_see_only_the_mean_along_each_axis(maker, agrees, randomise, axis):
    module, x = example(maker, randomise)
    for parameter in module.key.parameters():
        parameter.data.zero_()

    assert agrees(module(x.mean(axis, keepdim=True).expand(x.shape)), module(x))


def test_a_constant_image_without_positions_weighs_all_tokens_alike(maker, agrees, randomise):
    module, x = example(maker, randomise)
    module.position.data.zero_()

    out, weights = module(x[:, :, :1, :1].expand(x.shape), need_weights=True)

    assert agrees(weights, torch.full_like(weights, 1 / 7))
    assert agrees(out, module.output(module.value(x[:, :, 0, 0])))


def test_equal_values_hide_the_weights(maker, agrees, randomise):
    module, x = example(maker, randomise)
    module.value.weight.data.zero_(), module.value.bias.data.fill_(1)

    assert agrees(module(x), module.output(torch.ones(5, 6, dtype=x.dtype, device=x.device)))


def test_key_bias_and_opposite_rescaling_change_nothing_and_values_are_on_a_line(maker, agrees, randomise):
    module, x = example(maker, randomise)
    before = module(x)

    module.key.bias.data.add_(maker(2)(6))
    assert agrees(module(x), before)

    module.query.weight.data.mul_(2), module.query.bias.data.mul_(2)
    module.key.weight.data.div_(2), module.key.bias.data.div_(2)
    assert agrees(module(x), before)

    module.value.weight.data.mul_(-1.5), module.value.bias.data.mul_(-1.5)
    assert agrees(module(x), module.output.bias - 1.5 * (before - module.output.bias))


def test_the_answer_is_no_linear_function_of_the_image(maker, agrees, randomise):
    """The broken law of the contract: the map decides how its pixels are weighted."""
    module, x = example(maker, randomise)
    nothing = module(torch.zeros_like(x))
    assert not agrees(module(-1.5 * x), nothing - 1.5 * (module(x) - nothing))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype):
    module, x = example(maker, randomise)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


def test_one_backward_reaches_every_parameter_but_the_key_bias(maker, randomise, silent_parameters):
    module, x = example(maker, randomise)

    module(x).square().sum().backward()

    # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
    assert module.key.bias.grad.abs().max() < 1e-12
    module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker, randomise):
    module, x = example(maker, randomise)

    assert torch.autograd.gradcheck(module, (x[:2].requires_grad_(),))


@pytest.mark.parametrize(
    ("channels", "heads", "height", "message"),
    [
        (6, 4, 3, "attention_pool: channels must be a multiple of heads, got channels=6, heads=4"),
        (
            6, 2, 0,
            "attention_pool: channels, height, width and classes must be at least 1, got "
            "channels=6, height=0, width=2, classes=6",
        ),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(channels, heads, height, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        AttentionPool(channels, heads, height=height, width=2)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 6, 2, 3), "AttentionPool: x has height=2, but height is 3"),
        ((2, 6, 3, 1), "AttentionPool: x has width=1, but width is 2"),
        ((2, 36), f"AttentionPool: x must be ({AXES}), got rank 2: (2, 36)"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_explained_in_axes(device, shape, message):
    """RN-4: a flattened map is refused, and so is one of the right number of pixels (2×3 for 3×2)."""
    with pytest.raises(ShapeError) as error:
        AttentionPool(6, 2, height=3, width=2).to(device)(torch.ones(shape, device=device))

    assert str(error.value) == message


def test_positions_of_another_map_are_refused(device):
    weights = [torch.eye(6, device=device)] * 4
    x, position = torch.ones(2, 6, 3, 2, device=device), torch.ones(6, 6, device=device)

    with pytest.raises(ShapeError) as error:
        attention_pool(x, position, *weights, heads=2)

    assert str(error.value) == "attention_pool: position has height*width+1=6, but height*width+1 is 7"
