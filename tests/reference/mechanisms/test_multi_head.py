"""Multi-head attention against loops over heads, torch.nn.MultiheadAttention, and the printed mistakes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.multi_head import MultiHead

sizes = st.integers(0, 3)
widths = st.integers(1, 4)


@torch.no_grad()
def by_heads(module, q, k, v, visible):
    """Head by head and sample by sample, from slices of the weights; `visible` has every axis."""
    out = torch.zeros(*q.shape[:2], module.model_dim, dtype=torch.float64, device=q.device)
    for b, h in ((b, h) for b in range(len(q)) for h in range(module.heads)):
        narrow = slice(h * module.head_dim, (h + 1) * module.head_dim)
        wide = slice(h * module.v_dim, (h + 1) * module.v_dim)
        query, key, value = (
            module.query(q[b])[:, narrow],
            module.key(k[b])[:, narrow],
            module.value(v[b])[:, wide],
        )
        powers = torch.exp(query @ key.T / module.head_dim**0.5) * visible[b, h]
        total = powers.sum(1, keepdim=True)
        weights = powers / torch.where(total == 0, 1, total)
        out[b] += weights @ value @ module.output.weight[:, wide].T
    return out if module.output.bias is None else out + module.output.bias


@pytest.mark.parametrize("masking", ["none", "rank 3", "rank 4", "lengths", "lengths per query", "both"])
@given(
    batch=sizes, q_len=sizes, kv_len=sizes, heads=st.integers(1, 3), head_dim=widths, v_dim=widths,
    query_size=widths, key_size=widths, value_size=widths, bias=st.booleans(), causal=st.booleans(),
    alignment=st.sampled_from(["upper_left", "lower_right"]),
)  # fmt: skip
def test_it_is_one_attention_per_head(
    maker, agrees, randomise, batch, q_len, kv_len, heads, head_dim, v_dim, query_size, key_size, value_size,
    bias, causal, alignment, masking,
):  # fmt: skip
    sizes_of = {"query_size": query_size, "key_size": key_size, "value_size": value_size}
    module = randomise(MultiHead(5, heads, head_dim=head_dim, v_dim=v_dim, bias=bias, **sizes_of))
    draw = maker(1)
    q, k, v = draw(batch, q_len, query_size), draw(batch, kv_len, key_size), draw(batch, kv_len, value_size)
    noise = draw(batch, heads, q_len, kv_len)
    visible, given_mask = torch.ones_like(noise, dtype=torch.bool), {}
    if masking == "rank 3":
        given_mask["mask"] = draw(batch, q_len, kv_len) > -0.5
        visible &= given_mask["mask"][:, None]
    if masking in ("rank 4", "both"):
        given_mask["mask"] = noise > -0.5
        visible &= given_mask["mask"]
    if masking in ("lengths", "lengths per query", "both"):
        lengths = torch.arange(batch * q_len, device=q.device).reshape(batch, q_len) % (kv_len + 1)
        if masking != "lengths per query":
            lengths = torch.arange(batch, device=q.device) % (kv_len + 1)
        given_mask["valid_lens"] = lengths
        per_query = lengths if masking == "lengths per query" else lengths[:, None].expand(batch, q_len)
        visible &= torch.arange(kv_len, device=q.device) < per_query[:, None, :, None]
    if causal:
        start = kv_len - q_len if alignment == "lower_right" else 0
        visible &= torch.ones(q_len, kv_len, device=q.device).tril(start).bool()

    out, weights = module(q, k, v, causal=causal, alignment=alignment, need_weights=True, **given_mask)

    assert agrees(out, by_heads(module, q, k, v, visible))
    assert agrees(weights.sum(-1), visible.any(-1).double())


def example(maker, randomise, **options):
    draw = maker(0)
    module = randomise(MultiHead(6, 3, query_size=5, key_size=7, value_size=11, **options))
    return module, draw(2, 4, 5), draw(2, 9, 7), draw(2, 9, 11)


@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_torch(maker, agrees, randomise, masked):
    """Torch's True means "ignore", and its query projection has no size of its own."""
    draw = maker(2)
    ours = randomise(MultiHead(6, 3, key_size=7, value_size=11))
    theirs = torch.nn.MultiheadAttention(6, 3, kdim=7, vdim=11, batch_first=True).to(draw(1))
    theirs.load_state_dict(
        {
            "q_proj_weight": ours.query.weight, "k_proj_weight": ours.key.weight,
            "v_proj_weight": ours.value.weight, "out_proj.weight": ours.output.weight,
            "out_proj.bias": ours.output.bias,
            "in_proj_bias": torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]),
        }
    )  # fmt: skip
    q, k, v = draw(2, 4, 6), draw(2, 9, 7), draw(2, 9, 11)
    mask = draw(4, 9) > -0.5 if masked else None

    out, weights = ours(q, k, v, None if mask is None else mask[None], need_weights=True)
    expected, expected_weights = theirs(
        q, k, v, attn_mask=None if mask is None else ~mask, average_attn_weights=False
    )
    out.square().sum().backward()
    expected.square().sum().backward()

    assert agrees(out, expected)
    assert agrees(weights, expected_weights)
    assert agrees(ours.query.weight.grad, theirs.q_proj_weight.grad)
    assert agrees(ours.value.weight.grad, theirs.v_proj_weight.grad)
    assert agrees(ours.output.bias.grad, theirs.out_proj.bias.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype):
    """MH-1 and DM-5: with lengths, one of them 0."""
    module, *inputs = example(maker, randomise)
    module, low = module.to(dtype), [t.to(dtype) for t in inputs]
    lengths = torch.tensor([0, 4], device=low[0].device)

    out = module(*low, valid_lens=lengths)

    assert out.dtype == dtype
    assert agrees(out, module.double()(*(t.double() for t in low), valid_lens=lengths))


def test_one_backward_reaches_every_parameter_but_the_key_bias(maker, randomise, silent_parameters):
    module, q, k, v = example(maker, randomise)

    module(q, k, v).square().sum().backward()

    # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
    assert module.key.bias.grad.abs().max() < 1e-12
    module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


def test_laws_that_hold_by_the_softmax(maker, agrees, randomise):
    module, q, k, v = example(maker, randomise)
    out = module(q, k, v)

    module.key.bias.data += 1
    assert agrees(module(q, k, v), out)

    module.key.bias.data.zero_()
    module.key.weight.data.zero_()
    assert agrees(module(q, k, v), module.output(module.value(v)).mean(1, keepdim=True).expand(2, 4, 6))


def test_without_keys_only_the_output_bias_is_left(maker, agrees, randomise):
    """MH-10 and DM-2: an empty sequence is legal and is no crash."""
    module, q, k, v = example(maker, randomise)

    assert agrees(module(q, k[:, :0], v[:, :0]), module.output.bias.expand(2, 4, 6))


def test_a_mask_of_rank_three_belongs_to_samples_even_if_there_are_as_many_heads(maker, agrees, randomise):
    """MH-5a: read as `1 heads q_len kv_len`, sample 1's mask hides keys from head 1 of all."""
    draw, module = maker(3), randomise(MultiHead(6, 2))
    x = draw(2, 5, 6)
    mask = torch.ones(2, 5, 5, dtype=torch.bool, device=x.device)
    mask[1, :, 3:] = False

    out = module(x, x, x, mask)

    assert agrees(out[0], module(x[:1], x[:1], x[:1])[0])
    assert agrees(out[1:], module(x[1:], x[1:, :3], x[1:, :3]))
    assert not agrees(module(x, x, x, mask[None]), out)


def test_samples_of_another_batch_are_not_regrouped(maker, randomise):
    """MH-3: `view(q.shape[0], -1, ...)` deals the keys of one sample out to two."""
    module, q, k, v = example(maker, randomise)
    assert k[:1, :8].reshape(2, -1, 7).shape == (2, 4, 7)

    with pytest.raises(ShapeError) as error:
        module(q, k[:1, :8], v[:1, :8])

    assert str(error.value) == "MultiHead: k has batch=1, but q has 2"


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ((2, 2, 4, 9), "MultiHead: mask has heads=2, but heads is 3"),
        ((4, 9), "MultiHead: mask must be (batch, {self.heads}, q_len, kv_len) or (batch, q_len, kv_len), "
                 "got rank 2: (4, 9)"),
        ((2, 1, 9, 9), "MultiHead: mask has q_len=9, but q has 4"),
        ((3, 4, 9), "MultiHead: mask has batch=3, but q has 2"),
    ],
)  # fmt: skip
def test_a_mask_that_does_not_fit_is_explained(maker, randomise, mask, message):
    """MH-4 and MH-5b, MH-5c: neither another rank nor a mask that enlarges the output."""
    module, q, k, v = example(maker, randomise)

    with pytest.raises(ShapeError) as error:
        module(q, k, v, torch.ones(mask, dtype=torch.bool, device=q.device))

    assert str(error.value) == message


@pytest.mark.parametrize("heads", [0, 4, 7])
def test_heads_that_do_not_divide_are_refused_at_construction(heads):
    """MH-11 and DM-1: in words, and before the first forward."""
    message = f"^multi_head: model_dim must be a multiple of heads, got model_dim=6, heads={heads}$"
    with pytest.raises(ValueError, match=message):
        MultiHead(6, heads)


def test_gradients_are_those_of_finite_differences(maker, randomise):
    module, *inputs = example(maker, randomise)
    leaves = tuple(t[:1, :3].clone().requires_grad_() for t in inputs)

    assert torch.autograd.gradcheck(module, leaves)
