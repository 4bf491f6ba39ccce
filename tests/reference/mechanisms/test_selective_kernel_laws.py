"""What holds of selective kernels for every input, and what does not."""

import copy

import torch
from hypothesis import given
from hypothesis import strategies as st

from attnref.mechanisms.selective_kernel import MECHANISM, SelectiveKernel

seeds = st.integers(0, 99)
gates = st.sampled_from(["normalised", "affine"])


def samples_do_not_mix(call, x):
    changed = torch.cat([x[:1], x[1:] + 1])
    return torch.allclose(call(changed)[0], call(x)[0], rtol=1e-9, atol=1e-12)


def example(maker, lived, branches=3, **options):
    module = SelectiveKernel(6, branches=branches, groups=2, reduction=2, least_reduced=5, **options)
    return lived(module), maker(1)(4, 6, 5, 7)


@given(seed=seeds, gate=gates, training=st.booleans(), dilated=st.booleans(), stride=st.integers(1, 2))
def test_its_laws_hold(maker, agrees, lived, seed, gate, training, dilated, stride):
    module = SelectiveKernel(
        6, branches=3, groups=2, reduction=2, least_reduced=5, gate=gate, dilated=dilated, stride=stride
    )
    lived(module, seed)
    draw = maker(seed + 1)
    x = draw(4, 6, 5, 7)

    assert samples_do_not_mix(module, x)
    module.train(training)
    out = module(x)
    assert agrees(module(x.flip(0)), out.flip(0))
    assert agrees(module(x.repeat(2, 1, 1, 1)), out.repeat(2, 1, 1, 1))
    assert bool((out >= 0).all())
    shift = draw(6, 5)
    with torch.no_grad():
        for excite in module.excite:
            excite.weight.add_(shift)
    assert agrees(module(x), out)
    if gate == "normalised":
        with torch.no_grad():
            module.squeeze_norm.weight.mul_(4)
            module.squeeze_norm.bias.mul_(4)
            for excite in module.excite:
                excite.weight.div_(4)
        assert agrees(module(x), out)


@given(seed=seeds, gate=gates, training=st.booleans())
def test_equal_branches_give_their_value_whatever_the_gate_says(maker, agrees, lived, seed, gate, training):
    module = SelectiveKernel(6, branches=3, groups=2, least_reduced=5, gate=gate)
    lived(module, seed).train(training)
    x, value = maker(seed)(4, 6, 5, 7), maker(seed + 1)(6)
    with torch.no_grad():
        for norm in module.norm:
            norm.weight.zero_()
            norm.bias.copy_(value)

    assert agrees(module(x), value.clamp(min=0)[:, None, None].expand_as(x))


@given(seed=seeds, gate=gates, training=st.booleans())
def test_a_gate_of_zero_adds_up_the_branches(maker, agrees, lived, seed, gate, training):
    module = SelectiveKernel(6, branches=3, groups=2, least_reduced=5, gate=gate)
    lived(module, seed).train(training)
    x = maker(seed)(4, 6, 5, 7)
    with torch.no_grad():
        for excite in module.excite:
            excite.weight.zero_()

    assert agrees(sum(only(module, i)(x) for i in range(3)), module(x))


@torch.no_grad()
def only(module, branch):
    """The module with all branches but one shut."""
    left = copy.deepcopy(module)
    for i, norm in enumerate(left.norm):
        if i != branch:
            norm.weight.zero_()
            norm.bias.zero_()
    return left


def test_one_branch_ignores_the_gate(maker, lived, randomise):
    module, x = example(maker, lived, branches=1)
    before = module(x)
    randomise(module.squeeze, 11)
    randomise(module.excite, 13)

    assert torch.equal(module(x), before)


def test_what_might_be_expected_does_not_hold(maker, lived):
    module, x = example(maker, lived)
    broken = [claim.law.id for claim in MECHANISM.contract.broken_laws]

    assert broken == ["samples_do_not_mix", "follows_pixel_order", "zero_input_gives_zero"]
    assert not torch.allclose(module(x.roll(1, -1)), module(x).roll(1, -1))
    assert module(torch.zeros_like(x)).any()
    assert not samples_do_not_mix(module.train(), x)
