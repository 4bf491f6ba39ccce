"""The laws of the non-local block, and which published mistake breaks which."""

import math

import pytest
import torch
from hypothesis import strategies as st

from attnref.mechanisms.non_local import NonLocal

batches, sizes = st.integers(0, 3), st.integers(1, 4)
SIDES = {1: (5,), 2: (3, 2), 3: (2, 3, 5)}
ranks = pytest.mark.parametrize("rank", [1, 2, 3])


def example(maker, randomise, rank=2, **options):
    """As many features as channels, so that no mistake crashes."""
    return randomise(NonLocal(6, reduced=6, rank=rank, **options)), maker(0)(5, 6, *SIDES[rank])


def right(module, x):
    return module(x)


def attend(module, x, mix):
    q, k, v = (layer(x).flatten(2) for layer in (module.query, module.key, module.value))
    return x + module.output(mix(q, k, v).reshape(x.shape))


def positions_by_view(module, x):
    """CH-15: channels and positions are exchanged by a view instead of a transposition."""

    def mix(q, k, v):
        as_rows = [t.reshape(t.shape[0], t.shape[2], t.shape[1]) for t in (q, k, v)]
        return torch.softmax(as_rows[0] @ as_rows[1].mT, -1) @ as_rows[2]

    return attend(module, x, lambda q, k, v: mix(q, k, v).mT)


def channels_by_view(module, x):
    """CH-15: what was read is laid out as a map without the transposition back."""
    return attend(module, x, lambda q, k, v: torch.softmax(q.mT @ k, -1) @ v.mT)


def softmax_over_queries(module, x):
    """SM-1: the softmax runs along the other axis."""
    return attend(module, x, lambda q, k, v: v @ torch.softmax(q.mT @ k, 1).mT)


def without_attention(module, x):
    """NL-8: the block that only projects."""
    return x + module.output(module.value(x))


EVERY = (right, positions_by_view, channels_by_view, softmax_over_queries, without_attention)


def except_for(*mistakes):
    """Each form of the mechanism, and whether the law holds for it."""
    return pytest.mark.parametrize(("form", "lawful"), [(f, f not in mistakes) for f in EVERY])


@except_for(positions_by_view, channels_by_view)
def test_a_permutation_of_positions_permutes_the_output(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    order = torch.tensor([4, 0, 5, 2, 1, 3], device=x.device)

    def shuffled(image):
        return image.flatten(2)[:, :, order].reshape(image.shape)

    assert agrees(form(module, shuffled(x)), shuffled(form(module, x))) is lawful


@except_for(positions_by_view, channels_by_view)
def test_a_transposed_image_gives_a_transposed_output(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)

    assert agrees(form(module, x.mT.contiguous()), form(module, x).mT) is lawful


@except_for(positions_by_view, channels_by_view, without_attention)
def test_zero_keys_add_the_mean_of_the_values(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    module.key.weight.data.zero_(), module.key.bias.data.zero_()
    mean = module.value(x).mean((2, 3), keepdim=True)

    assert agrees(form(module, x), x + module.output(mean)) is lawful


@except_for(positions_by_view, softmax_over_queries)
def test_a_bias_on_the_keys_changes_nothing(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    before = form(module, x)

    module.key.bias.data.add_(maker(2)(6))

    assert agrees(form(module, x), before) is lawful


@except_for(softmax_over_queries)
def test_equal_values_hide_the_weights(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    module.value.weight.data.zero_(), module.value.bias.data.fill_(1)

    assert agrees(form(module, x), x + module.output(torch.ones_like(x))) is lawful


def divided_by_the_height(module, x):
    """CH-16: the dot product is divided by the rows, not by the keys."""
    return attend(module, x, lambda q, k, v: v @ (q.mT @ k / x.shape[2]).mT)


def undivided(module, x):
    """CH-16: the dot product is not divided at all."""
    return attend(module, x, lambda q, k, v: v @ (q.mT @ k).mT)


@pytest.mark.parametrize(
    ("pairwise", "form", "lawful"),
    [
        ("embedded_gaussian", right, True),
        ("dot_product", right, True),
        ("dot_product", divided_by_the_height, False),
        ("dot_product", undivided, False),
    ],
)
def test_a_tiled_image_gives_a_tiled_output(maker, agrees, randomise, pairwise, form, lawful):
    module, x = example(maker, randomise, pairwise=pairwise)

    assert agrees(form(module, x.tile(1, 1, 2, 2)), form(module, x).tile(1, 1, 2, 2)) is lawful


@ranks
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_fresh_block_gives_its_input_and_hides_every_mistake(maker, rank, norm, training):
    """NL-8: with the last layer zero, the scores get no gradient at all."""
    x = maker(0)(5, 6, *SIDES[rank])
    module = NonLocal(6, rank=rank, norm=norm).to(x).train(training)

    out = module(x)
    out.square().sum().backward()

    assert torch.equal(out, x)
    scores = [*module.query.parameters(), *module.key.parameters(), *module.value.parameters()]
    assert not any(parameter.grad.any() for parameter in scores)
    last = module.norm if norm else module.output
    assert all(parameter.grad.any() for parameter in last.parameters())


@ranks
@pytest.mark.parametrize(
    ("norm", "training", "lawful"), [(False, True, True), (True, False, True), (True, True, False)]
)
def test_samples_do_not_mix_unless_batch_norm_trains(maker, agrees, randomise, rank, norm, training, lawful):
    """The broken law of the contract: in training, batch norm sees the whole batch."""
    module, x = example(maker, randomise, rank, norm=norm)
    module.train(training)

    assert agrees(module(x)[1:2], module(x[1:2])) is lawful


@ranks
@pytest.mark.parametrize(("sub_sample", "lawful"), [(False, True), (True, False)])
def test_position_order_and_tiling_are_followed_without_sub_sampling(
    maker, agrees, randomise, rank, sub_sample, lawful
):
    """The broken laws of the contract: which positions share a pair depends on where they stand."""
    module = randomise(NonLocal(6, rank=rank, sub_sample=sub_sample))
    x = maker(0)(2, 6, *(2, 3, 5)[3 - rank :])
    order = torch.randperm(math.prod(x.shape[2:]), generator=torch.Generator().manual_seed(1)).to(x.device)

    def shuffled(image):
        return image.flatten(2)[:, :, order].reshape(image.shape)

    twice = (1, 1, *[2] * rank)
    assert agrees(module(shuffled(x)), shuffled(module(x))) is lawful
    assert agrees(module(x.tile(twice)), module(x).tile(twice)) is lawful


@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize(("rank", "axis"), [(1, 2), (2, 2), (2, 3), (3, 3), (3, 4)])
def test_an_odd_last_row_is_a_query_but_no_key(maker, agrees, randomise, rank, axis, pool_first):
    """NL-6: what a last odd row holds moves nothing but that row."""
    module = randomise(NonLocal(6, rank=rank, sub_sample=True, pool_first=pool_first))
    x = maker(0)(2, 6, *{1: (5,), 2: (5, 7), 3: (3, 5, 7)}[rank])
    last = x.shape[axis] - 1
    changed = x.clone()
    changed.select(axis, last).add_(1)

    before, after = module(x), module(changed)

    assert torch.equal(after.narrow(axis, 0, last), before.narrow(axis, 0, last))
    assert not agrees(after.select(axis, last), before.select(axis, last))


def documented_layout(module, x):
    """NL-1: a clip laid out `batch time channels height width`, as the article says."""
    return module(x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize(("form", "lawful"), [(right, True), (documented_layout, False)])
def test_frames_of_a_clip_may_change_places(maker, agrees, randomise, form, lawful):
    """NL-1: with as many frames as channels, the wrong layout runs, and frames are features."""
    module = randomise(NonLocal(5, rank=3))
    x = maker(0)(2, 5, 5, 3, 2)

    assert agrees(form(module, x.roll(1, 2)), form(module, x).roll(1, 2)) is lawful


@pytest.mark.parametrize("pool_first", [False, True])
def test_queries_times_two_keys_by_two_and_a_line_of_values(maker, agrees, randomise, pool_first):
    module, x = example(maker, randomise, 3, sub_sample=True, pool_first=pool_first)
    before = module(x)

    module.query.weight.data.mul_(2), module.query.bias.data.mul_(2)
    module.key.weight.data.div_(2), module.key.bias.data.div_(2)
    assert agrees(module(x), before)

    module.value.weight.data.mul_(-1.5), module.value.bias.data.mul_(-1.5)
    nothing = x + module.output.bias[:, None, None, None]
    # After the projections, a maximum of negated values is not the negated maximum.
    assert agrees(module(x), nothing - 1.5 * (before - nothing)) is pool_first


def test_a_constant_image_weighs_all_positions_alike(maker, agrees, randomise):
    module, x = example(maker, randomise)

    out, weights = module(x[:, :, :1, :1].expand(x.shape), need_weights=True)

    assert agrees(weights, torch.full_like(weights, 1 / 6))
    assert agrees(out, out[:, :, :1, :1].expand(out.shape))


def test_without_a_softmax_the_bias_of_the_keys_counts(maker, agrees, randomise):
    """The broken law of the contract."""
    module, x = example(maker, randomise, pairwise="dot_product")
    before = module(x)

    module.key.bias.data.add_(maker(2)(6))

    assert not agrees(module(x), before)
