"""The non-local block against torch's own attention, and what published copies get wrong."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from attnref import ShapeError
from attnref.mechanisms.non_local import NonLocal

batches, sizes = st.integers(0, 3), st.integers(1, 4)
SIDES = {1: (5,), 2: (3, 2), 3: (2, 3, 5)}
ranks = pytest.mark.parametrize("rank", [1, 2, 3])


def halved(x):
    """Maxima over pairs by slicing, along the last axis and all before it but time."""
    for axis in range(2 if x.dim() < 5 else 3, x.dim()):
        even = x.shape[axis] // 2 * 2
        x = x.narrow(axis, 0, even).unflatten(axis, (even // 2, 2)).amax(axis + 1)
    return x


@torch.no_grad()
def by_torch(module, x):
    """The block from layers and operators of torch, one head."""
    source = halved(x) if module.sub_sample and module.pool_first else x
    q, k, v = module.query(x), module.key(source), module.value(source)
    if module.sub_sample and not module.pool_first:
        k, v = halved(k), halved(v)
    q, k, v = (t.flatten(2).mT for t in (q, k, v))
    scale = module.reduced**-0.5 if module.scaled and module.pairwise == "embedded_gaussian" else 1.0
    if module.pairwise == "embedded_gaussian":
        read = functional.scaled_dot_product_attention(q, k, v, scale=scale)
    else:
        read = scale * q @ (k.mT @ v) / k.shape[1]
    read = module.output(read.mT.unflatten(2, x.shape[2:]))
    return x + (read if module.norm is None else module.norm(read))


@given(
    rank=st.sampled_from([1, 2, 3]), batch=batches, channels=sizes, reduced=sizes,
    sides=st.tuples(sizes, sizes, sizes), pairwise=st.sampled_from(["embedded_gaussian", "dot_product"]),
    scaled=st.booleans(), sub_sample=st.booleans(), pool_first=st.booleans(), norm=st.booleans(),
    bias=st.booleans(),
)  # fmt: skip
def test_it_adds_to_every_position_what_that_position_reads(
    maker, agrees, randomise, rank, batch, channels, reduced, sides, pairwise, scaled, sub_sample,
    pool_first, norm, bias,
):  # fmt: skip
    module = randomise(
        NonLocal(
            channels, reduced=reduced, rank=rank, pairwise=pairwise, scaled=scaled,
            sub_sample=sub_sample, pool_first=pool_first, norm=norm, bias=bias,
        )
    ).eval()  # fmt: skip
    x = maker(1)(batch, channels, *(side + 1 if sub_sample else side for side in sides[:rank]))

    out, weights = module(x, need_weights=True)

    assert agrees(out, by_torch(module, x))
    if pairwise == "embedded_gaussian":
        assert agrees(weights.sum(-1), torch.ones_like(weights[..., 0]))


@ranks
@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
@pytest.mark.parametrize("pool_first", [False, True])
@pytest.mark.parametrize("sub_sample", [False, True])
def test_every_rank_and_option_agrees_with_torch(
    maker, agrees, randomise, rank, pairwise, pool_first, sub_sample
):
    options = {"pairwise": pairwise, "pool_first": pool_first, "sub_sample": sub_sample, "scaled": True}
    module = randomise(NonLocal(5, reduced=3, rank=rank, norm=True, **options)).eval()
    x = maker(1)(2, 5, *(3, 4, 7)[:rank])

    assert agrees(module(x), by_torch(module, x))


@pytest.mark.parametrize(("channels", "reduced"), [(1, 1), (2, 1), (5, 2), (8, 4)])
def test_half_of_the_channels_but_at_least_one_are_projected_to(channels, reduced):
    assert NonLocal(channels).reduced == reduced


def example(maker, randomise, rank=2, **options):
    """As many features as channels, so that no mistake crashes."""
    return randomise(NonLocal(6, reduced=6, rank=rank, **options)), maker(0)(5, 6, *SIDES[rank])


def test_time_is_not_sub_sampled(maker, randomise):
    module = randomise(NonLocal(6, rank=3, sub_sample=True))

    _, weights = module(maker(0)(2, 6, 3, 5, 7), need_weights=True)

    assert weights.shape == (2, 3 * 5 * 7, 3 * 2 * 3)


def test_pooling_before_and_after_the_projections_differ(maker, agrees, randomise):
    """NL-7: the authors' code pools first, its best-known copy last."""
    module, _ = example(maker, randomise, sub_sample=True)
    x = maker(1)(2, 6, 4, 6)
    pooled_last = module(x)

    module.pool_first = True

    assert not agrees(module(x), pooled_last)


def test_the_scale_makes_up_for_the_width_of_the_projections(maker, agrees, randomise):
    plain, x = example(maker, randomise)
    scaled, _ = example(maker, randomise, scaled=True)
    assert not agrees(plain(x), scaled(x))

    scaled.query.weight.data.mul_(math.sqrt(6)), scaled.query.bias.data.mul_(math.sqrt(6))

    assert agrees(plain(x), scaled(x))


def test_large_activations_overflow_float16_but_not_bfloat16(maker, randomise):
    """NL-9: logits have no scale, in the paper too; the range of the dtype is the limit."""
    module, x = example(maker, randomise)

    assert module.half()(300 * x.half()).isnan().any()
    assert module.bfloat16()(300 * x.bfloat16()).isfinite().all()


@ranks
@pytest.mark.parametrize("sub_sample", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_stays_near_float64(maker, agrees, randomise, dtype, rank, sub_sample):
    module = randomise(NonLocal(3, reduced=2, rank=rank, sub_sample=sub_sample, norm=True)).eval()
    x = maker(0)(2, 3, *SIDES[rank])
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@ranks
def test_an_empty_batch_stays_empty(device, rank):
    """NL-4: a view with -1 cannot say what an empty batch looks like."""
    empty = torch.ones(0, 6, *SIDES[rank], device=device)
    with pytest.raises(RuntimeError, match="0 elements"):
        empty.view(0, 6, -1)

    out = NonLocal(6, rank=rank, sub_sample=True).to(device)(empty)

    assert out.shape == empty.shape


@ranks
@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
def test_one_backward_reaches_every_parameter_but_the_key_bias(
    maker, randomise, silent_parameters, rank, pairwise
):
    module, x = example(maker, randomise, rank, pairwise=pairwise, norm=True)

    module.eval()(x).square().sum().backward()

    if pairwise == "embedded_gaussian":
        # It adds the same to every logit of a row; only rounding noise can be left of its gradient.
        assert module.key.bias.grad.abs().max() < 1e-11
        module.key.bias.grad.fill_(1)
    assert silent_parameters(module) == []


@ranks
@pytest.mark.parametrize("sub_sample", [False, True])
def test_gradients_are_those_of_finite_differences(maker, randomise, rank, sub_sample):
    module = randomise(NonLocal(2, rank=rank, sub_sample=sub_sample))
    x = maker(0)(2, 2, *SIDES[rank])

    assert torch.autograd.gradcheck(module, (x.requires_grad_(),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 4}, "non_local: rank must be 1, 2 or 3, got rank=4"),
        ({"reduced": 0}, "non_local: channels and reduced must be at least 1, got channels=6, reduced=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    """NL-10: a projection to nothing is refused when the block is built."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        NonLocal(6, **options)


@pytest.mark.parametrize(
    ("rank", "shape", "message"),
    [
        (1, (2, 6, 1), "non_local: sub_sample needs length of at least 2, got length=1"),
        (2, (2, 6, 1, 5), "non_local: sub_sample needs height and width of at least 2, "
         "got height=1, width=5"),
        (3, (2, 6, 3, 5, 1), "non_local: sub_sample needs height and width of at least 2, "
         "got height=5, width=1"),
        (2, (2, 5, 3, 2), "NonLocal: x has channels=5, but channels is 6"),
        (2, (2, 6, 3), "NonLocal: with rank=2, x must have 4 axes, got 3: (2, 6, 3)"),
        (3, (2, 4, 6, 3, 2), "NonLocal: x has channels=4, but channels is 6"),
        (
            1,
            (2, 6),
            "NonLocal: x must be (batch, {self.channels}, time, height, width) or "
            "(batch, {self.channels}, height, width) or (batch, {self.channels}, length), "
            "got rank 2: (2, 6)",
        ),
    ],
)  # fmt: skip
def test_a_wrong_call_is_explained_in_axes(device, rank, shape, message):
    """NL-1, NL-3: a map too small to pool, and a clip with time before channels, are refused."""
    module = NonLocal(6, rank=rank, sub_sample=True).to(device)

    with pytest.raises(ShapeError) as error:
        module(torch.ones(shape, device=device))

    assert str(error.value) == message
