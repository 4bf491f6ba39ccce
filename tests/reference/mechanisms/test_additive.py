"""Additive attention against loops over pairs, its laws, and what a wrong call says."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref import ShapeError
from attnref.mechanisms.additive import Additive, additive

sizes = st.integers(0, 4)
widths = st.integers(1, 5)


@torch.no_grad()
def by_loops(q, k, v, query_weight, key_weight, score_weight, lengths):
    """One pair of query and key at a time."""
    out = torch.zeros(*q.shape[:2], v.shape[2], dtype=torch.float64, device=q.device)
    for b, i in ((b, i) for b in range(q.shape[0]) for i in range(q.shape[1])):
        seen = range(int(lengths[b]))
        hidden = [torch.tanh(query_weight @ q[b, i] + key_weight @ k[b, j]) for j in seen]
        powers = [math.exp(float(score_weight[0] @ h)) for h in hidden]
        for j in seen:
            out[b, i] += powers[j] / sum(powers) * v[b, j]
    return out


def call(module, q, k, v, lengths=None):
    weights = (module.query.weight, module.key.weight, module.score.weight)
    return additive(q, k, v, *weights, lengths)


def example(maker, randomise, seed=0):
    draw = maker(seed)
    module = randomise(Additive(query_size=3, key_size=5, hidden=7), seed)
    return module, draw(2, 4, 3), draw(2, 6, 5), draw(2, 6, 11)


@given(
    batch=sizes, q_len=sizes, kv_len=sizes, query_size=widths, key_size=widths, hidden=widths, v_dim=sizes,
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_the_weighted_mean_of_the_valid_values(
    maker, agrees, randomise, batch, q_len, kv_len, query_size, key_size, hidden, v_dim, seed
):
    draw = maker(seed)
    module = randomise(Additive(query_size, key_size, hidden), seed)
    q, k, v = draw(batch, q_len, query_size), draw(batch, kv_len, key_size), draw(batch, kv_len, v_dim)
    lengths = (torch.arange(batch, device=q.device) + seed) % (kv_len + 1)

    out, weights = module(q, k, v, lengths, need_weights=True)

    weights_of = (module.query.weight, module.key.weight, module.score.weight)
    expected = by_loops(q, k, v, *weights_of, lengths)
    assert agrees(out, expected)
    assert agrees(weights.sum(-1), (lengths > 0).double()[:, None].expand(batch, q_len))
    assert torch.equal(out, call(module, q, k, v, lengths))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype):
    """AD-6: a length of 0 included, which gives NaN in half precision elsewhere."""
    module, q, k, v = example(maker, randomise)
    module, q, k, v = module.to(dtype), q.to(dtype), k.to(dtype), v.to(dtype)
    lengths = torch.tensor([0, 4], device=q.device)

    out = module(q, k, v, lengths)

    assert out.dtype == dtype
    assert agrees(out, module.double()(q.double(), k.double(), v.double(), lengths))


def test_one_backward_reaches_every_parameter(maker, randomise, silent_parameters):
    module, q, k, v = example(maker, randomise)

    module(q, k, v).square().sum().backward()

    assert silent_parameters(module) == []
    assert [name for name, _ in module.named_parameters()] == ["query.weight", "key.weight", "score.weight"]


def test_with_one_key_the_scores_learn_nothing(maker, agrees, randomise):
    module, q, k, v = example(maker, randomise)

    out = module(q, k[:, :1], v[:, :1])
    out.square().sum().backward()

    assert agrees(out, v[:, :1].expand(2, 4, 11))
    assert not module.key.weight.grad.any()


def test_equal_keys_give_the_mean_of_the_valid_values(maker, agrees, randomise):
    module, q, k, v = example(maker, randomise)
    lengths = torch.tensor([2, 5], device=q.device)

    out = module(q, k[:, :1].expand(2, 6, 5), v, lengths)

    means = torch.stack([v[0, :2].mean(0), v[1, :5].mean(0)])
    assert agrees(out, means[:, None].expand(2, 4, 11))


@pytest.mark.parametrize("name", ["key", "score"])
def test_zero_weights_give_the_mean(maker, agrees, randomise, name):
    module, q, k, v = example(maker, randomise)
    module.get_submodule(name).weight.data.zero_()

    assert agrees(module(q, k, v), v.mean(1, keepdim=True).expand(2, 4, 11))


def test_the_sign_of_all_three_weights_together_does_not_matter(maker, agrees, randomise):
    module, q, k, v = example(maker, randomise)
    out = module(q, k, v)

    for parameter in module.parameters():
        parameter.data.neg_()

    assert agrees(module(q, k, v), out)


@pytest.mark.parametrize("broken", ["rescaling", "shift"])
def test_laws_of_dot_products_do_not_hold(maker, agrees, randomise, broken):
    module, q, k, v = example(maker, randomise)
    out = module(q, k, v)

    if broken == "rescaling":
        module.query.weight.data.mul_(3)
        module.key.weight.data.div_(3)
    else:
        k = k + 1

    assert not agrees(module(q, k, v), out)


def test_gradients_are_those_of_finite_differences(maker, randomise):
    module, q, k, v = example(maker, randomise)
    weights = [module.query.weight, module.key.weight, module.score.weight]
    inputs = tuple(t.detach().clone().requires_grad_() for t in (q, k, v, *weights))
    lengths = torch.tensor([[0, 2, 4, 6], [1, 3, 4, 5]], device=q.device)

    assert torch.autograd.gradcheck(lambda *tensors: additive(*tensors, lengths), inputs)


def test_keys_of_another_batch_are_refused(maker, randomise):
    """AD-5: written with a broadcast sum, one sample's keys serve every sample, silently."""
    module, q, k, v = example(maker, randomise)
    summed = module.query(q)[:, :, None] + module.key(k[:1])[:, None]
    assert summed.shape == (2, 4, 6, 7)

    with pytest.raises(ShapeError) as error:
        module(q, k[:1], v)

    assert str(error.value) == "Additive: keys has batch=1, but queries has 2"


def test_a_network_without_hidden_units_is_refused():
    with pytest.raises(ValueError, match=r"^additive: hidden must be at least 1, got hidden=0$"):
        Additive(query_size=3, key_size=5, hidden=0)


def test_lengths_may_be_left_out(maker, randomise):
    """AD-4: the printed version asks for them at every call."""
    module, q, k, v = example(maker, randomise)

    full = torch.full((2,), 6, device=q.device)
    assert torch.equal(module(q, k, v), module(q, k, v, full))
