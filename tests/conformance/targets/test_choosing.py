"""Every value that a constructor offers is judged, not only the one at which the target was recognised."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from attncheck import run
from attncheck.targets.choosing import with_choices
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class Block(nn.Module):
    """A non-local block whose layers have other names where it pools and where it normalises."""

    def __init__(self, in_channels: int, inner: int, use_bn: bool = True, sub_sampling: bool = False) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(in_channels, inner, 1) for _ in range(3))
        last = nn.Conv2d(inner, in_channels, 1)
        self.w = nn.Sequential(last, nn.BatchNorm2d(in_channels)) if use_bn else last
        if sub_sampling:
            self.phi, self.g = (nn.Sequential(layer, self.pool()) for layer in (self.phi, self.g))

    def pool(self) -> nn.Module:
        return nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        weights = torch.softmax(q.mT @ k, dim=-1)
        return x + self.w((v @ weights.mT).unflatten(2, x.shape[2:]))


class PooledByTheMean(Block):
    def pool(self) -> nn.Module:
        return nn.AvgPool2d(2)


def test_options_of_the_constructor_are_open() -> None:
    found = discover(Block, BY_ID["non_local"])

    assert found.certainty == "verified"
    assert found.arguments["use_bn"] == "norm"
    assert found.arguments["sub_sampling"] == "sub_sample"
    assert {"norm", "sub_sample"} <= set(found.takes)
    assert not {"norm", "sub_sample"} & set(found.fixed)


@pytest.mark.parametrize(("target", "outcome"), [(Block, "passed"), (PooledByTheMean, "failed")])
def test_a_mistake_under_an_option_that_is_off_by_default_is_found(target: type, outcome: str) -> None:
    report = run(target, mechanism="non_local", isolate=False, seed=1, checks=("matches_the_reference",))

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == outcome


class Pairs(nn.Module):
    """A non-local block that chooses by words and flags of its own."""

    def __init__(
        self, c: int, inner: int, relation: str = "softmax", halved: bool = False, zero: bool = False
    ) -> None:
        super().__init__()
        if relation not in ("softmax", "dot-product"):
            raise ValueError(relation)
        self.relation, self.halved = relation, halved
        self.theta, self.phi, self.g = (nn.Conv2d(c, inner, 1) for _ in range(3))
        self.z = nn.Conv2d(inner, c, 1)
        if zero:
            nn.init.zeros_(self.z.weight)

    def divisor(self, x: Tensor, keys: Tensor) -> int:
        return keys.shape[2]

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.phi(x), self.g(x)
        if self.halved:
            k, v = (nn.functional.max_pool2d(t, 2) for t in (k, v))
        q, k, v = self.theta(x).flatten(2), k.flatten(2), v.flatten(2)
        scores = q.mT @ k
        weights = torch.softmax(scores, -1) if self.relation == "softmax" else scores / self.divisor(x, k)
        return x + self.z((v @ weights.mT).unflatten(2, x.shape[2:]))


class PairsCountedBefore(Pairs):
    def divisor(self, x: Tensor, keys: Tensor) -> int:
        return x[0, 0].numel()


class PairsUndivided(Pairs):
    def divisor(self, x: Tensor, keys: Tensor) -> int:
        return 1


def test_options_of_other_words_and_flags_of_other_names_are_open_and_what_decides_nothing_is_not() -> None:
    found = discover(Pairs, BY_ID["non_local"])

    assert (
        found.arguments["relation"]
        == "{'embedded_gaussian': 'softmax', 'dot_product': 'dot-product'}[pairwise]"
    )
    assert found.arguments["halved"] == "sub_sample"
    assert "zero" not in found.arguments
    assert run(Pairs, mechanism="non_local", isolate=False, seed=1, budget="quick").conforms


@pytest.mark.parametrize("target", [PairsCountedBefore, PairsUndivided])
def test_a_mistake_under_an_option_of_another_word_is_found(target: type) -> None:
    report = run(target, mechanism="non_local", isolate=False, seed=1, checks=("matches_the_reference",))

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == "failed"


class OfVideo(nn.Module):
    """A non-local block of linear layers, which take maps of any rank: where it pools it wants time, and pools first."""

    def __init__(self, channels: int, inner: int, sub_sample: bool = False) -> None:
        super().__init__()
        self.sub_sample = sub_sample
        self.theta, self.phi, self.g = (nn.Linear(channels, inner) for _ in range(3))
        self.out = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        seen = (
            nn.functional.max_pool3d(x, (1, min(2, x.shape[3]), min(2, x.shape[4]))) if self.sub_sample else x
        )
        keys = seen.flatten(2).mT
        weights = torch.softmax(self.theta(x.flatten(2).mT) @ self.phi(keys).mT, dim=-1)
        return x + self.out(weights @ self.g(keys)).mT.reshape(x.shape)


def test_an_option_may_tell_apart_what_made_no_difference_without_it() -> None:
    found = discover(OfVideo, BY_ID["non_local"])

    assert "sub_sample" in found.takes
    assert (found.fixed["rank"], found.fixed["pool_first"]) == (3, True)


class BorderOfThree(nn.Module):
    """A spatial gate whose border suits one kernel."""

    def __init__(self, kernel_size: int = 7, padding: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


class OfSeven(BorderOfThree):
    """No other kernel is taken."""

    def __init__(self, kernel_size: int = 7) -> None:
        if kernel_size != 7:
            raise ValueError("kernels have seven rows")
        super().__init__(kernel_size)


def test_a_size_that_is_taken_and_raises_in_the_call_is_open_and_one_that_is_refused_is_not() -> None:
    gate = BY_ID["cbam_spatial"]

    assert discover(BorderOfThree, gate).arguments["kernel_size"] == "kernel"
    assert "kernel_size" not in discover(OfSeven, gate).arguments
    assert not run(BorderOfThree, mechanism="cbam_spatial", budget="quick", isolate=False, seed=1).conforms
    assert run(OfSeven, mechanism="cbam_spatial", budget="quick", isolate=False, seed=1).conforms


class WithoutStatistics(Block):
    """Its norm sees the batch in evaluation too, so the statistics of the reference have no place in it."""

    def __init__(self, in_channels: int, inner: int, norm: bool = True) -> None:
        super().__init__(in_channels, inner, norm)
        if norm:
            self.w[1] = nn.BatchNorm2d(in_channels, track_running_stats=False)


def test_a_default_at_which_the_weights_have_no_place_is_judged_in_part_and_named() -> None:
    assert discover(WithoutStatistics, BY_ID["non_local"]).unmatched == ("norm=True",)

    report = run(
        WithoutStatistics, mechanism="non_local", isolate=False, seed=1, checks=("matches_the_reference",)
    )

    assert report.exit_code == 3
    assert "at its default norm=True its weights could not be matched" in report.verdicts[-1].reason


class Gate(nn.Module):
    """A residual block with CBAM whose skip strides over other pixels than its convolution does."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, ratio: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.fc1, self.fc2 = nn.Linear(planes, planes // ratio), nn.Linear(planes // ratio, planes)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        pooled = nn.Sequential(
            nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inplanes, planes, 1, bias=False)
        )
        self.downsample = nn.Identity() if stride == 1 and inplanes == planes else pooled

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        pooled = torch.stack([y.mean((2, 3)), y.amax((2, 3))])
        y = y * torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))).sum(0))[..., None, None]
        maps = torch.stack([y.mean(1), y.amax(1)], 1)
        return torch.relu(y * torch.sigmoid(self.spatial(maps)) + self.downsample(x))


def test_a_stride_that_is_right_at_its_default_alone_is_judged_at_others() -> None:
    found = discover(Gate, BY_ID["cbam_block"])

    assert found.certainty == "verified"
    assert found.arguments["stride"] == "stride"


def test_a_bias_that_only_one_value_of_an_option_brings_may_be_lacking() -> None:
    # The affine gate of the reference has a bias more than its normalised one, if it has biases at all.
    report = run(
        "attnref.mechanisms.selective_kernel:SelectiveKernel", mechanism="selective_kernel", seed=1, budget="quick",
        checks=("matches_the_reference",),
    )  # fmt: skip

    assert report.conforms


class Squeezed(nn.Module):
    """The gate of CBAM with a reduction that small maps have too few channels for."""

    def __init__(self, gate_channels: int, reduction_ratio: int = 16) -> None:
        super().__init__()
        if gate_channels < reduction_ratio:
            raise ValueError("reduction_ratio too large")
        hidden = gate_channels // reduction_ratio
        self.mlp = nn.Sequential(
            nn.Linear(gate_channels, hidden), nn.Identity(), nn.Linear(hidden, gate_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        return x * gate[:, :, None, None]


def test_a_default_at_which_no_case_is_legal_is_left_as_it_is() -> None:
    """One hidden unit that happens to be positive looks as if a relu had passed it on."""
    found = replace(
        discover(Squeezed, BY_ID["cbam_channel"]),
        arguments={"gate_channels": "channels"},
        derived={"reduction": "16"},
        certainty="verified",
    )

    assert with_choices(found, Squeezed, BY_ID["cbam_channel"]).derived == {"reduction": "16"}


class Flagged(nn.Module):
    """A gate whose layers have biases under a flag, which is off by default."""

    def __init__(self, channels: int, ratio: int = 16, use_bias: bool = False) -> None:
        super().__init__()
        self.down = nn.Linear(channels, channels // ratio, bias=use_bias)
        self.up = nn.Linear(channels // ratio, channels, bias=use_bias)

    def squeezed(self, mean: Tensor) -> Tensor:
        return self.down(mean)  # type: ignore[no-any-return]  # a module returns a tensor here

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.up(self.squeezed(x.mean((2, 3))).relu()).sigmoid()[..., None, None]
        return out


class ForgetsItsBias(Flagged):
    def squeezed(self, mean: Tensor) -> Tensor:
        return linear(mean, self.down.weight)


@pytest.mark.parametrize(("target", "conforms"), [(Flagged, True), (ForgetsItsBias, False)])
def test_a_mistake_under_a_bias_that_is_off_by_default_is_found(target: type, conforms: bool) -> None:
    report = run(
        target, mechanism="squeeze_excitation", isolate=False, seed=1, checks=("matches_the_reference",)
    )

    assert report.conforms is conforms


class Bordered(nn.Module):
    """A gate of one kernel, with a border that fits kernels of seven."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        gate = self.conv(maps)[..., : x.shape[2], : x.shape[3]]
        return x * gate.sigmoid()


def test_a_kernel_that_is_right_at_its_default_alone_is_judged_at_smaller_ones() -> None:
    report = run(Bordered, mechanism="cbam_spatial", isolate=False, seed=1, checks=("matches_the_reference",))

    assert not report.conforms


class OverChannels(nn.Module):
    """Channels read from channels; there are as many projected ones as given ones unless told otherwise."""

    def __init__(self, in_dim: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.in_dim, self.out_dim = in_dim, out_dim or in_dim
        self.query, self.key, self.value, self.skip = (nn.Conv2d(in_dim, self.out_dim, 1) for _ in range(4))
        self.gamma = nn.Parameter(torch.zeros(1))

    def rows(self) -> int:
        return self.out_dim

    def forward(self, x: Tensor) -> Tensor:
        samples, _, *sides = x.shape
        q, k, v = (layer(x).view(samples, self.rows(), -1) for layer in (self.query, self.key, self.value))
        read = torch.softmax(q @ k.mT, -1) @ v
        return self.gamma * read.view(samples, self.out_dim, *sides) + self.skip(x)


class RegroupsChannels(OverChannels):
    """Right only where both are as many."""

    def rows(self) -> int:
        return self.in_dim


@pytest.mark.parametrize(("target", "conforms"), [(OverChannels, True), (RegroupsChannels, False)])
def test_a_width_that_follows_another_by_default_is_judged_apart_from_it(
    target: type, conforms: bool
) -> None:
    report = run(target, mechanism="channel_self", isolate=False, seed=1, checks=("matches_the_reference",))

    assert report.conforms is conforms


class PoolsTokens(nn.Module):
    """Attention pooling, as wide behind its output layer as before it unless told otherwise."""

    def __init__(
        self,
        in_features: int,
        feat_size: tuple[int, int],
        out_features: int | None = None,
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        rows, columns = feat_size
        self.heads, out = num_heads, out_features or in_features
        self.scale = (self.scaled_by(in_features, out) // num_heads) ** -0.5
        self.pos_embed = nn.Parameter(torch.randn(rows * columns + 1, in_features))
        self.q, self.k, self.v = (nn.Linear(in_features, in_features) for _ in range(3))
        self.proj = nn.Linear(in_features, out)

    def scaled_by(self, width: int, out: int) -> int:
        return width

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + self.pos_embed
        q, k, v = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        weights = torch.softmax(q[:, :, :1] * self.scale @ k.mT, -1)
        return self.proj((weights @ v).flatten(1))


class PoolsScaledByOutputs(PoolsTokens):
    """Right only where both are as many."""

    def scaled_by(self, width: int, out: int) -> int:
        return out


@pytest.mark.parametrize(("target", "conforms"), [(PoolsTokens, True), (PoolsScaledByOutputs, False)])
def test_a_name_of_several_sizes_is_of_the_one_that_the_mechanism_has(target: type, conforms: bool) -> None:
    report = run(target, mechanism="attention_pool", isolate=False, seed=1, checks=("matches_the_reference",))

    assert report.conforms is conforms


class HalfBiased(nn.Module):
    """The flag is for queries, keys and values; the last layer has a bias in any case."""

    def __init__(self, dim: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=bias), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


def test_a_flag_for_some_of_the_biases_is_not_taken_for_one_of_all() -> None:
    found = discover(HalfBiased, BY_ID["multi_head"])

    assert found.arguments["bias"] == "True"
    assert found.fixed["bias"] is True
    assert run(
        HalfBiased, mechanism="multi_head", isolate=False, seed=1, checks=("matches_the_reference",)
    ).conforms


class MixesUp(HalfBiased):
    """Values are made of the queries, which goes unseen unless there are more keys than queries, or fewer."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        keys = x if context is None else context
        (q, _, v), (_, k, _) = (
            self.qkv(each).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4) for each in (x, keys)
        )
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


def test_keys_that_are_taken_only_where_they_are_as_many_as_the_queries_are_judged() -> None:
    found = discover(MixesUp, BY_ID["multi_head"])

    assert {role for roles in found.inputs.values() for role in roles} == {"q", "k", "v"}
    assert len(found.inputs) == 2
    assert not run(MixesUp, mechanism="multi_head", isolate=False, seed=1, budget="quick").conforms
