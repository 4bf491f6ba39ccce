"""The laws of spatial self-attention, and which published mistake breaks which."""

import pytest
import torch
from hypothesis import strategies as st

from attnref.mechanisms.spatial_self import SpatialSelf

batches, sizes = st.integers(0, 3), st.integers(1, 4)


def example(maker, randomise, **options):
    """Three rows, two columns: as many features as pixels, so that no mistake crashes.

    Pooled, it is five rows and four columns: four keys, and a row that is none.
    """
    sides = (5, 4) if "pool" in options and options["pool"] == 2 else (3, 2)
    return randomise(SpatialSelf(6, reduced=6, **options)), maker(0)(5, 6, *sides)


def right(module, x):
    return module(x)


def attend(module, x, mix):
    q, k, v = (layer(x).flatten(2) for layer in (module.query, module.key, module.value))
    return module.gamma * mix(q, k, v).reshape(x.shape) + x


def transposed_weights(module, x):
    """CH-13, SM-4: the sum over pixels runs over the queries."""
    return attend(module, x, lambda q, k, v: v @ torch.softmax(q.mT @ k, -1))


def softmax_over_queries(module, x):
    """CH-13, SM-1: what CCNet's copy of DANet does."""
    return attend(module, x, lambda q, k, v: v @ torch.softmax(q.mT @ k, 1).mT)


def product_by_entries(module, x):
    """CH-13, SM-5: runs only where there are as many pixels as features."""
    return attend(module, x, lambda q, k, v: v @ torch.softmax(q.mT * k, -1).mT)


def swapped_sides(module, x):
    """CH-19: the rows of what was read are laid out as columns."""
    read = (module(x) - x).flatten(2).reshape(*x.shape[:2], x.shape[3], x.shape[2])
    return x + read.mT


def over_the_batch(module, x):
    """Pixels of all samples are read as one map."""
    wide = x.permute(1, 0, 2, 3).reshape(1, x.shape[1], -1, x.shape[3])
    return module(wide).reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)


EVERY = (right, transposed_weights, softmax_over_queries, product_by_entries, swapped_sides, over_the_batch)


def except_for(*mistakes):
    """Each form of the mechanism, and whether the law holds for it."""
    return pytest.mark.parametrize(("form", "lawful"), [(f, f not in mistakes) for f in EVERY])


@except_for(product_by_entries, swapped_sides)
def test_a_permutation_of_pixels_permutes_the_output(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    order = torch.tensor([4, 0, 5, 2, 1, 3], device=x.device)

    def shuffled(image):
        return image.flatten(2)[:, :, order].reshape(image.shape)

    assert agrees(form(module, shuffled(x)), shuffled(form(module, x))) is lawful


@except_for(product_by_entries, swapped_sides)
def test_a_transposed_image_gives_a_transposed_output(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)

    assert agrees(form(module, x.mT), form(module, x).mT) is lawful


@except_for(over_the_batch)
def test_samples_do_not_mix(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)

    assert agrees(form(module, x)[1:2], form(module, x[1:2])) is lawful


@except_for(softmax_over_queries, product_by_entries)
def test_a_bias_on_the_keys_changes_nothing(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    before = form(module, x)

    module.key.bias.data.add_(maker(2)(6))

    assert agrees(form(module, x), before) is lawful


@except_for(over_the_batch)
def test_zero_keys_add_the_mean_of_the_values(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    module.key.weight.data.zero_(), module.key.bias.data.zero_()

    mean = module.value(x).mean((2, 3), keepdim=True)

    assert agrees(form(module, x), module.gamma * mean + x) is lawful


@except_for(transposed_weights, softmax_over_queries)
def test_equal_values_hide_the_weights(maker, agrees, randomise, form, lawful):
    module, x = example(maker, randomise)
    module.value.weight.data.zero_(), module.value.bias.data.fill_(1)

    assert agrees(form(module, x), module.gamma + x) is lawful


@pytest.mark.parametrize("pool", [1, 2])
def test_queries_times_two_and_keys_by_two_change_nothing(maker, agrees, randomise, pool):
    module, x = example(maker, randomise, pool=pool)
    before = module(x)

    module.query.weight.data.mul_(2), module.query.bias.data.mul_(2)
    module.key.weight.data.div_(2), module.key.bias.data.div_(2)

    assert agrees(module(x), before)


@pytest.mark.parametrize("form", EVERY)
def test_gamma_of_zero_hides_every_mistake_but_not_the_input(maker, randomise, form):
    """SS-4: a fresh module is the identity, and nothing else of it can be tested."""
    module, x = example(maker, randomise)
    module.gamma.data.zero_()

    form(module, x).sum().backward()

    assert torch.equal(form(module, x), x)
    assert not any(p.grad.any() for p in (*module.query.parameters(), *module.value.parameters()))
    assert not SpatialSelf(3).gamma.any()


def test_the_output_moves_along_a_line_with_gamma(maker, agrees, randomise):
    module, x = example(maker, randomise)

    def at(value):
        module.gamma.data.fill_(value)
        return module(x).detach()

    assert agrees(at(-3.0), x - 3 * (at(1.0) - x))


def test_a_constant_image_weighs_all_pixels_alike(maker, agrees, randomise):
    module, x = example(maker, randomise)

    out, weights = module(x[:, :, :1, :1].expand(x.shape), need_weights=True)

    assert agrees(weights, torch.full_like(weights, 1 / 6))
    assert agrees(out, out[:, :, :1, :1].expand(out.shape))


@pytest.mark.parametrize(("pool", "lawful"), [(1, True), (2, False)])
def test_without_pooling_pixel_order_and_tiling_are_followed_and_values_are_linear(
    maker, agrees, randomise, pool, lawful
):
    """The broken laws of the contract: with a pool, none of the three holds."""
    module, x = example(maker, randomise, pool=pool)
    out = module(x)

    assert agrees(module(x.flip(2).roll(1, 2)), out.flip(2).roll(1, 2)) is lawful
    assert agrees(module(x.tile(1, 1, 2, 2)), out.tile(1, 1, 2, 2)) is lawful
    module.value.weight.data.mul_(-1.5), module.value.bias.data.mul_(-1.5)
    assert agrees(module(x), x - 1.5 * (out - x)) is lawful


def test_an_odd_last_row_is_a_query_but_no_key(maker, agrees, randomise):
    module, x = example(maker, randomise, pool=2)
    changed = x.clone()
    changed[:, :, 4] += 1

    before, after = module(x), module(changed)

    assert torch.equal(after[:, :, :4], before[:, :, :4])
    assert not agrees(after[:, :, 4], before[:, :, 4])
