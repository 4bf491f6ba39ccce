"""Relative position bias against loops over pairs, its laws, and known wrong layouts of the table."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.relative_position import RelativePosition, relative_index, relative_position

WINDOWS = [(1, 1), (1, 5), (2, 3), (5, 1), (3, 2)]


@torch.no_grad()
def by_loops(module, x):
    """One head, one query, one key at a time; the table is read by coordinates, not by an index."""
    height, width, heads = module.height, module.tokens // module.height, module.heads
    table = module.table.reshape(2 * height - 1, 2 * width - 1, heads)
    q, k, v = ((p(x) if p else x) for p in (module.query, module.key, module.value))
    size = x.shape[2] // heads
    scale = 1 / math.sqrt(size) if module.scale is None else module.scale
    joined = torch.zeros_like(x)
    for b, h, i in ((b, h, i) for b in range(len(x)) for h in range(heads) for i in range(module.tokens)):
        part = slice(h * size, (h + 1) * size)
        logits = []
        for j in range(module.tokens):
            down, right = i // width - j // width, i % width - j % width
            bias = table[down + height - 1, right + width - 1, h]
            logits.append(float(q[b, i, part] @ k[b, j, part]) * scale + float(bias))
        powers = [math.exp(logit) for logit in logits]
        for j, power in enumerate(powers):
            joined[b, i, part] += power / sum(powers) * v[b, j, part]
    return module.output(joined) if module.output else joined


def example(randomise, height=1, width=5, **options):
    return randomise(RelativePosition(6, 3, height * width, height=height, **options))


def outputs_of_index(index, draw):
    """What a layout makes of one table: the bias of every pair."""
    return draw(1000)[index]


@given(
    batch=st.integers(0, 3), heads=st.integers(1, 3), head_dim=st.integers(1, 3),
    window=st.sampled_from(WINDOWS),
    with_qkv=st.booleans(), bias=st.booleans(), scale=st.sampled_from([None, 0.3, 0.0]),
)  # fmt: skip
def test_it_is_attention_with_a_bias_per_offset(
    maker, agrees, randomise, batch, heads, head_dim, window, with_qkv, bias, scale
):
    height, width = window
    module = randomise(
        RelativePosition(
            heads * head_dim, heads, height * width, height=height, with_qkv=with_qkv, bias=bias, scale=scale
        )
    )
    x = maker(1)(batch, height * width, heads * head_dim)

    out, weights = module(x, need_weights=True)

    assert agrees(out, by_loops(module, x))
    assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert torch.equal(out, module(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("with_qkv", [True, False])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, with_qkv):
    module = example(randomise, 2, 3, with_qkv=with_qkv).to(dtype)
    x = maker(1)(2, 6, 6).to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize(("height", "width"), WINDOWS)
def test_each_offset_has_an_entry_of_its_own(device, height, width):
    index = relative_index(height, width, device=device)

    assert sorted(index.unique().tolist()) == list(range((2 * height - 1) * (2 * width - 1)))


def test_index_of_three_tokens_by_hand(device):
    """Row i, column j holds i - j + 2: the query's place minus the key's."""
    assert relative_index(1, 3, device=device).tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]


@pytest.mark.parametrize("mistake", ["2W-2", "2H-1", "key minus query", "columns first"])
def test_mistaken_layouts_give_another_bias(maker, mistake):
    """PO-1, PO-2, PO-3: fewer offsets than there are, or the offsets of other pairs."""
    draw = maker(2)
    height, width = 2, 3
    right = relative_index(height, width, device=draw(1).device)
    rows, columns = right // (2 * width - 1), right % (2 * width - 1)
    wrong = {
        "2W-2": rows * (2 * width - 2) + columns,
        "2H-1": rows * (2 * height - 1) + columns,
        "key minus query": right.T,
        "columns first": columns * (2 * height - 1) + rows,
    }[mistake]

    collides = wrong.unique().numel() < (2 * height - 1) * (2 * width - 1)

    assert collides == (mistake in ("2W-2", "2H-1"))
    assert not torch.equal(outputs_of_index(wrong, maker(3)), outputs_of_index(right, maker(3)))


@pytest.mark.parametrize(("height", "width"), WINDOWS)
def test_reversing_tokens_and_table_reverses_the_output(maker, agrees, randomise, height, width):
    module = example(randomise, height, width)
    x = maker(3)(2, height * width, 6)
    out = module(x)

    module.table.data = module.table.data.flip(0)

    assert agrees(module(x.flip(1)), out.flip(1))


def test_a_zero_table_forgets_order_and_any_other_does_not(maker, agrees, randomise):
    module = example(randomise)
    x, order = maker(4)(2, 5, 6), [2, 0, 4, 1, 3]

    assert not agrees(module(x[:, order]), module(x)[:, order])

    module.table.data.zero_()
    assert agrees(module(x[:, order]), module(x)[:, order])


def test_a_constant_per_head_in_the_table_changes_nothing(maker, agrees, randomise):
    module, x = example(randomise, 2, 3), maker(5)(2, 6, 6)
    out = module(x)

    module.table.data += maker(6)(1, 3)

    assert agrees(module(x), out)


def test_a_peak_in_the_table_selects_the_key_at_that_offset(maker, agrees, randomise):
    """Query i sees key i - 1 alone where the table is large at offset 1; offset 0 is itself."""
    module, x = example(randomise), maker(7)(2, 5, 6)

    module.table.data[4] = 1e4
    assert agrees(module(x), module.output(module.value(x)))

    module.table.data[4], module.table.data[5] = 0, 1e4
    assert agrees(module(x)[:, 1:], module.output(module.value(x))[:, :-1])


def test_laws_of_multi_head_attention_hold_with_a_table(maker, agrees, randomise):
    module, x = example(randomise), maker(8)(2, 5, 6)
    out = module(x)

    module.key.bias.data += 1
    assert agrees(module(x), out)

    module.key.bias.data.zero_()
    module.query.weight.data.mul_(3), module.query.bias.data.mul_(3), module.key.weight.data.div_(3)
    assert agrees(module(x), out)

    module.key.weight.data.zero_(), module.table.data.zero_()
    assert agrees(module(x), module.output(module.value(x)).mean(1, keepdim=True).expand(2, 5, 6))


def test_a_scale_of_zero_leaves_the_table_alone_to_decide(maker, agrees, randomise):
    """RP-6: `scale or default` ignores a scale of 0."""
    module = example(randomise, scale=0.0)
    module.query.weight.data.mul_(100)

    _, weights = module(maker(9)(2, 5, 6), need_weights=True)

    bias = module.table[relative_index(1, 5, device=weights.device)].permute(2, 0, 1)
    assert agrees(weights, torch.softmax(bias, -1).expand(2, 3, 5, 5))


@pytest.mark.parametrize("with_qkv", [True, False])
def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters, with_qkv):
    module = example(randomise, 2, 3, with_qkv=with_qkv)

    module(maker(10)(2, 6, 6)).square().sum().backward()

    # A key bias adds the same to every logit of a row, so it learns nothing: not even rounding
    # noise may exceed 1e-12.
    if with_qkv:
        assert module.key.bias.grad.abs().max() < 1e-12
        module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []
    assert len(list(module.parameters())) == (9 if with_qkv else 1)


@pytest.mark.parametrize("height", [1, 2])
def test_gradients_are_those_of_finite_differences(maker, randomise, height):
    module = example(randomise, height, 6 // height)
    layers = (module.query, module.key, module.value, module.output)
    tensors = [maker(11)(1, 6, 6), module.table, *(p.weight for p in layers), *(p.bias for p in layers)]
    inputs = tuple(t.detach().clone().requires_grad_() for t in tensors)

    assert torch.autograd.gradcheck(lambda *t: relative_position(*t, height=height), inputs)


def test_a_table_starts_uneven():
    assert RelativePosition(6, 3, 5).table.unique().numel() == 27


@pytest.mark.parametrize("tokens", [1, 5])
def test_another_number_of_tokens_is_refused(randomise, maker, tokens):
    """RP-1 and RP-2: a table for one token fits every length if nobody compares."""
    module = example(randomise, 1, tokens)

    with pytest.raises(ShapeError) as error:
        module(maker(12)(2, 7, 6))

    assert str(error.value) == f"RelativePosition: x has tokens=7, but tokens is {tokens}"


def test_another_width_is_refused_even_without_projections(randomise, maker):
    """RP-5: with_qkv=False runs at any width that the heads divide, with the wrong scale."""
    module = example(randomise, with_qkv=False)

    with pytest.raises(ShapeError) as error:
        module(maker(13)(2, 5, 9))

    assert str(error.value) == "RelativePosition: x has model_dim=9, but model_dim is 6"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"model_dim": 7, "heads": 3}, "model_dim must be a multiple of heads, got model_dim=7, heads=3"),
        ({"model_dim": 2, "heads": 3}, "model_dim must be a multiple of heads, got model_dim=2, heads=3"),
        ({"heads": 0}, "model_dim must be a multiple of heads, got model_dim=6, heads=0"),
        ({"height": 2}, "tokens must be a multiple of height, got tokens=5, height=2"),
        ({"height": 0}, "tokens must be a multiple of height, got tokens=5, height=0"),
        ({"tokens": 0}, "tokens must be a multiple of height, got tokens=0, height=1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_at_construction(sizes, message):
    """RP-3: the source article finds out in forward, or not at all."""
    with pytest.raises(ValueError, match=f"^relative_position: {message}$"):
        RelativePosition(**{"model_dim": 6, "heads": 3, "tokens": 5, **sizes})


def test_a_bias_without_a_weight_is_refused(maker):
    draw = maker(14)

    with pytest.raises(ValueError, match=r"^relative_position: key_bias needs key_weight, which is missing$"):
        relative_position(draw(2, 5, 6), draw(9, 3), key_bias=draw(6))
