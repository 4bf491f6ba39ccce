"""Selective kernels against their parts written out, their laws, the article's mistakes, their messages."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attnref import ShapeError
from attnref.mechanisms.selective_kernel import SelectiveKernel, selective_kernel

sides = st.integers(1, 6)
seeds = st.integers(0, 99)
gates = st.sampled_from(["normalised", "affine"])


def convolve(x, conv, reach, stride):
    """One group at a time, with a kernel of side 2 · reach + 1 that has holes where it is dilated."""
    side, step = 2 * reach + 1, conv.dilation[0]
    kernel = conv.weight.new_zeros(*conv.weight.shape[:2], side, side)
    kernel[..., ::step, ::step] = conv.weight
    cut = F.pad(x, (reach,) * 4).unfold(2, side, stride).unfold(3, side, stride)
    groups = zip(cut.chunk(conv.groups, 1), kernel.chunk(conv.groups), strict=True)
    out = torch.cat([torch.einsum("bchwij, ocij -> bohw", part, k) for part, k in groups], 1)
    return out if conv.bias is None else out + conv.bias[:, None, None]


def normalise(x, norm):
    """Batch norm of `batch channels ...`."""
    mean, var = norm.running_mean, norm.running_var
    last = x.movedim(1, -1)
    if norm.training:
        mean, var = last.flatten(0, -2).mean(0), last.flatten(0, -2).var(0, correction=0)
    return ((last - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias).movedim(-1, 1)


@torch.no_grad()
def written_out(module, x):
    """The module without torch's convolution, batch norm or softmax."""
    branches = [
        normalise(convolve(x, conv, 1 + i, module.stride), norm).clamp(min=0)
        for i, (conv, norm) in enumerate(zip(module.conv, module.norm, strict=True))
    ]
    z = sum(branches).mean((2, 3)) @ module.squeeze.weight.T
    z = z + (0 if module.squeeze.bias is None else module.squeeze.bias)
    if module.gate == "normalised":
        z = normalise(z, module.squeeze_norm).clamp(min=0)
    powers = []
    for excite in module.excite:
        logit = z @ excite.weight.T + (0 if excite.bias is None else excite.bias)
        powers.append(logit.exp()[..., None, None])
    return sum(p / sum(powers) * u for p, u in zip(powers, branches, strict=True))


def example(maker, lived, branches=3, **options):
    module = SelectiveKernel(6, branches=branches, groups=2, reduction=2, least_reduced=5, **options)
    return lived(module), maker(1)(4, 6, 5, 7)


@given(
    batch=st.integers(0, 3), per_group=st.integers(1, 2), groups=st.integers(1, 3), height=sides,
    width=sides, branches=st.integers(1, 3), reduction=st.integers(1, 8), least_reduced=st.integers(1, 5),
    stride=st.integers(1, 3), gate=gates, gate_bias=st.booleans(), dilated=st.booleans(), bias=st.booleans(),
    training=st.booleans(), seed=seeds,
)  # fmt: skip
def test_branches_are_weighed_by_the_gate(
    maker, agrees, lived, batch, per_group, groups, height, width, branches, reduction, least_reduced,
    stride, gate, gate_bias, dilated, bias, training, seed,
):  # fmt: skip
    module = SelectiveKernel(
        per_group * groups, branches=branches, groups=groups, reduction=reduction,
        least_reduced=least_reduced, stride=stride, gate=gate, gate_bias=gate_bias, dilated=dilated,
        bias=bias,
    )  # fmt: skip
    lived(module, seed).train(training and batch > 1)
    x = maker(seed + 1)(batch, per_group * groups, height, width)

    out, weights = module(x, need_weights=True)

    assert out.shape[2:] == ((height - 1) // stride + 1, (width - 1) // stride + 1)
    assert agrees(out, written_out(module, x))
    assert agrees(weights.sum(1), torch.ones_like(weights[:, 0]))
    assert module.reduced == max(per_group * groups // reduction, least_reduced)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate", ["normalised", "affine"])
def test_low_precision_stays_near_float64(maker, agrees, lived, dtype, gate):
    module, x = example(maker, lived, gate=gate)
    module, x = module.to(dtype), x.to(dtype)

    out = module(x)

    assert out.dtype == dtype
    assert agrees(out, module.double()(x.double()))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"gate_bias": True}, {"gate": "affine", "gate_bias": True, "dilated": False}]
)
def test_one_backward_reaches_every_parameter(maker, lived, silent_parameters, training, options):
    """SK-2: the article's cannot go back through its convolutions."""
    module, x = example(maker, lived, **options)

    module.train(training)(x).square().sum().backward()

    assert silent_parameters(module) == []


def test_gradients_are_those_of_finite_differences(maker):
    draw = maker(0)
    tensors = [draw(2, 3, 5, 2, 4).requires_grad_(), draw(2, 3, 5).requires_grad_()]

    assert torch.autograd.gradcheck(selective_kernel, tensors)


def test_the_result_lies_between_the_branches(maker):
    draw = maker(0)
    features = draw(2, 3, 5, 2, 7)

    out = selective_kernel(features, draw(2, 3, 5))

    assert bool((out <= features.amax(1)).all())
    assert bool((out >= features.amin(1)).all())


def test_only_the_affine_gate_is_affine_in_what_it_reads(maker, lived):
    """SK-5: without batch norm and relu the two layers of the gate are one."""
    bends = {}
    for gate in ("normalised", "affine"):
        module, x = example(maker, lived, branches=2, gate=gate)
        # Far from the rectifier of the branches, what the gate reads is affine in the input, ...
        for norm in module.norm:
            nn.init.constant_(norm.bias, 20.0)
        step = maker(2)(4, 6, 1, 1).expand_as(x)
        if module.squeeze_norm is not None:
            # ... and the first sample stands where the gate's own rectifier bends.
            module.squeeze_norm.running_mean.copy_(what_squeeze_gives(module, x)[0])
            nn.init.zeros_(module.squeeze_norm.bias)
        logs = [module(x + t * step, need_weights=True)[1].log() for t in (-1, 0, 1)]
        ratios = [log[:, 0] - log[:, 1] for log in logs]
        bends[gate] = (ratios[0] - 2 * ratios[1] + ratios[2]).abs().max().item()

    assert bends["affine"] < 1e-9
    assert bends["normalised"] > 1e-3


def test_branch_kernels_are_dilated_or_full():
    """SK-6."""
    dilated = SelectiveKernel(64, groups=32)
    full = SelectiveKernel(64, groups=32, dilated=False, bias=True)

    assert [tuple(c.weight.shape) for c in dilated.conv] == [(64, 2, 3, 3), (64, 2, 3, 3)]
    assert [c.dilation for c in dilated.conv] == [(1, 1), (2, 2)]
    assert [tuple(c.weight.shape) for c in full.conv] == [(64, 2, 3, 3), (64, 2, 5, 5)]
    assert sum(p.numel() for p in full.conv[1].parameters()) == 3264
    assert sum(p.numel() for p in dilated.conv[1].parameters()) == 1152


def what_squeeze_gives(module, x):
    seen = []
    handle = module.squeeze.register_forward_hook(lambda _, __, result: seen.append(result.detach()))
    module(x)
    handle.remove()
    return seen[0]


class ArticleBranches(nn.Module):
    """SK-2: an axis is added in place to what relu keeps for its gradient."""

    def __init__(self, module):
        super().__init__()
        self.inner = module

    def forward(self, x):
        branches = zip(self.inner.conv, self.inner.norm, strict=True)
        features = torch.cat([torch.relu(norm(conv(x))).unsqueeze_(1) for conv, norm in branches], 1)
        squeezed = self.inner.squeeze(features.sum(1).mean((2, 3)))
        logits = torch.stack([excite(squeezed) for excite in self.inner.excite], 1)
        return selective_kernel(features, logits)


def test_the_articles_branches_cannot_be_trained(maker, lived, agrees):
    module, x = example(maker, lived, gate="affine")
    article = ArticleBranches(module)

    assert agrees(article(x), module(x))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        article(x).sum().backward()
    module(x).sum().backward()


def test_the_articles_other_layout_always_crashes(maker, lived, agrees):
    """SK-1: a tensor has no `permutation`; with `permute` the layout is a matter of two calls."""
    module, x = example(maker, lived)
    other = x.permute(1, 0, 2, 3)

    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'permutation'"):
        module(other.permutation(1, 0, 2, 3))
    assert agrees(module(other.permute(1, 0, 2, 3)), module(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"branches": 0}, "selective_kernel: branches must be at least 1, got branches=0"),
        ({"groups": 0}, "selective_kernel: groups must be at least 1, got groups=0"),
        ({"reduction": 0}, "selective_kernel: reduction must be at least 1, got reduction=0"),
        ({"least_reduced": 0}, "selective_kernel: least_reduced must be at least 1, got least_reduced=0"),
        ({"stride": 0}, "selective_kernel: stride must be at least 1, got stride=0"),
        (
            {"groups": 2},
            "selective_kernel: channels must be a positive multiple of groups, got channels=7, groups=2",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    """SK-7 and SK-8: groups that do not divide, and no branch at all."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SelectiveKernel(7, **{"groups": 7, **options})


def test_the_articles_loop_over_no_branch_has_no_result():
    """SK-8: the article finds out only when called."""

    def forward(convs, x):
        for i, conv in enumerate(convs):
            features = conv(x) if i == 0 else torch.cat([features, conv(x)], 1)
        return features

    with pytest.raises(UnboundLocalError):
        forward([], torch.zeros(2, 3, 5, 7))


def test_one_sample_cannot_train_a_normalised_gate(maker, lived):
    """CH-5: by design, since its batch norm sees one value of each unit."""
    module, x = example(maker, lived)
    affine, _ = example(maker, lived, gate="affine")

    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        module.train()(x[:1])
    assert affine.train()(x[:1]).isfinite().all()


def test_a_map_without_pixels_is_refused():
    message = "selective_kernel: height and width must be at least 1, got height=0, width=3"
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        SelectiveKernel(6, groups=2)(torch.zeros(2, 6, 0, 3))
