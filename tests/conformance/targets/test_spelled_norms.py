"""Norms of batches that are spelled out, with factors and statistics under names of their own."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class SpelledOut(nn.Module):
    """A non-local block that norms by hand."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.w = nn.Conv2d(inner, channels, 1)
        self.bn_gain, self.bn_shift = (nn.Parameter(torch.ones(channels)) for _ in range(2))
        self.register_buffer("bn_mean", torch.zeros(channels))
        self.register_buffer("bn_var", torch.ones(channels))

    def deviation(self, var: Tensor) -> Tensor:
        return (var + 1e-5).sqrt()

    def normed(self, y: Tensor) -> Tensor:
        mean, scale = self.bn_mean, self.deviation(self.bn_var)
        if self.training:
            mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), correction=0)
            scale = (var + 1e-5).sqrt()
            with torch.no_grad():
                self.bn_mean.lerp_(mean, 0.1)
                self.bn_var.lerp_(y.var((0, 2, 3)), 0.1)
        mean, scale, gain, shift = (t[:, None, None] for t in (mean, scale, self.bn_gain, self.bn_shift))
        return (y - mean) / scale * gain + shift

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        y = (v @ torch.softmax(q.mT @ k, dim=-1).mT).unflatten(2, x.shape[2:])
        return x + self.normed(self.w(y))


class RootOfTheRoot(SpelledOut):
    """In eval mode it divides by the fourth root of the variance."""

    def deviation(self, var: Tensor) -> Tensor:
        return (var.sqrt() + 1e-5).sqrt()


class OneNormOfAllBranches(nn.Module):
    """Selective kernels whose branches are one tensor, with one norm, before their gate is asked."""

    def __init__(self, channels: int, branches: int = 2, reduction: int = 16, min_width: int = 32) -> None:
        super().__init__()
        width = max(channels // reduction, min_width)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3 + 2 * i, padding=1 + i, bias=False) for i in range(branches)
        )
        self.norm = nn.BatchNorm2d(branches * channels)
        self.squeeze = nn.Linear(channels, width)
        self.select = nn.Linear(width, branches * channels)

    def forward(self, x: Tensor) -> Tensor:
        outs = self.norm(torch.cat([conv(x) for conv in self.convs], 1)).relu()
        outs = outs.unflatten(1, (len(self.convs), -1))
        gates = self.select(self.squeeze(outs.sum(1).mean((2, 3))))
        gates = gates.unflatten(1, (len(self.convs), -1)).softmax(1)
        return (outs * gates[..., None, None]).sum(1)


def test_a_norm_of_all_branches_is_the_norm_of_each() -> None:
    found = discover(OneNormOfAllBranches, BY_ID["selective_kernel"])

    placed = {p.target: p.roles for p in found.placements}
    assert found.certainty == "verified"
    for leaf in ("weight", "running_var"):
        assert placed[f"norm.{leaf}"] == tuple(f"norm.{branch}.{leaf}" for branch in range(3))


@pytest.mark.parametrize("target", [SpelledOut, RootOfTheRoot])
def test_its_weights_are_found_where_evaluation_or_training_is_right(target: type[nn.Module]) -> None:
    found = discover(target, BY_ID["non_local"])

    placed = {p.target: p.roles for p in found.placements}
    assert found.certainty == "verified"
    assert placed["bn_mean"] == ("norm.running_mean",)
    assert placed["bn_gain"] == ("norm.weight",)


@pytest.mark.parametrize(("target", "outcome"), [(SpelledOut, "passed"), (RootOfTheRoot, "failed")])
def test_a_norm_that_is_wrong_in_evaluation_alone_is_a_finding(target: type, outcome: str) -> None:
    check = "matches_the_reference"
    report = run(target, mechanism="non_local", isolate=False, seed=1, checks=(check,))

    assert {v.check: v.outcome for v in report.verdicts}[check] == outcome
