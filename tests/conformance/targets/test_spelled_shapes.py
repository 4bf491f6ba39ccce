"""Weights in shapes of their own, and sizes by names that mean another size elsewhere."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class FlatKernels(nn.Module):
    """The spatial gate over windows that are unfolded, one row of weights for each of the two maps."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.size = kernel_size
        self.kernel = nn.Parameter(torch.randn(2, kernel_size**2))

    def forward(self, x: Tensor) -> Tensor:
        windows = unfold(torch.stack([x.mean(1), x.amax(1)], 1), self.size, padding=self.size // 2)
        return x * (self.kernel.flatten() @ windows).sigmoid().reshape(x.shape[0], 1, *x.shape[2:])


class TableOfRowsAndColumns(nn.Module):
    """A window whose tokens are queries, keys and values as they are: no weight tells how wide they are."""

    def __init__(self, num_heads: int, height: int, width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * height - 1, 2 * width - 1))
        rows, columns = torch.arange(height), torch.arange(width)
        self.rows = rows[:, None] - rows + height - 1
        self.columns = columns[:, None] - columns + width - 1

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        offsets = self.table[:, self.rows[:, None, :, None], self.columns[None, :, None, :]]
        logits = heads @ heads.mT / heads.shape[-1] ** 0.5 + offsets.flatten(3).flatten(1, 2)
        return (logits.softmax(-1) @ heads).transpose(1, 2).flatten(2)


class KeysOfAHead(nn.Module):
    """Multi-head attention whose `key_size` is a head's, and whose inputs' widths are named otherwise."""

    def __init__(
        self, num_heads: int, key_size: int, query_in: int, key_in: int, value_in: int, model_size: int
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Parameter(torch.randn(width, num_heads, key_size)) for width in (query_in, key_in, value_in)
        )
        self.output = nn.Parameter(torch.randn(num_heads, key_size, model_size))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            torch.einsum("btd,dhk->bhtk", x, weight)
            for x, weight in ((query, self.query), (key, self.key), (value, self.value))
        )
        weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
        return torch.einsum("bhtk,hkm->btm", weights @ v, self.output)


class ProjectsSeveralHeads(nn.Module):
    """A sequence with a bias for each offset, and an output layer, with all its dropout, where there are several heads."""

    def __init__(self, dim: int, heads: int, tokens: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(2 * tokens - 1, heads))
        self.offsets = torch.arange(tokens)[:, None] - torch.arange(tokens) + tokens - 1
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout)) if heads > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        logits = q @ k.mT / q.shape[-1] ** 0.5 + self.table[self.offsets].permute(2, 0, 1)
        return self.output((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    ("target", "mechanism"),
    [
        (ProjectsSeveralHeads, "relative_position"),
        (FlatKernels, "cbam_spatial"),
        (TableOfRowsAndColumns, "relative_position"),
        (KeysOfAHead, "multi_head"),
    ],
)
def test_a_right_one_is_verified_and_conforms(target: type, mechanism: str) -> None:
    assert discover(target, BY_ID[mechanism]).certainty == "verified"
    assert run(target, mechanism=mechanism, budget="quick", isolate=False, seed=1).conforms


def test_where_the_output_layer_is_left_out_nothing_need_drop() -> None:
    report = run(
        ProjectsSeveralHeads,
        mechanism="relative_position",
        isolate=False,
        seed=1,
        checks=("drops_something_in_training",),
    )

    assert report.conforms
    assert [v.cases for v in report.verdicts if v.check == "drops_something_in_training"] > [0]


class Selective(nn.Module):
    """Selective kernels whose gate sees the sum of all branches."""

    def __init__(
        self, channels: int, kernels: Sequence[int] = (3, 5), reduction: int = 16, min_dim: int = 4
    ) -> None:
        super().__init__()
        width = max(channels // reduction, min_dim)
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, k, padding=k // 2), nn.BatchNorm2d(channels), nn.ReLU()
            )
            for k in kernels
        )
        self.squeeze = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.select = nn.Conv2d(width, channels * len(kernels), 1)

    def fused(self, outs: list[Tensor]) -> Tensor:
        return torch.stack(outs).sum(0)

    def forward(self, x: Tensor) -> Tensor:
        outs = [path(x) for path in self.paths]
        gates = self.select(self.squeeze(self.fused(outs).mean((2, 3), keepdim=True)))
        gates = gates.unflatten(1, (len(outs), -1)).softmax(1)
        return (torch.stack(outs, 1) * gates).sum(1)


class SeesTwoBranches(Selective):
    def fused(self, outs: list[Tensor]) -> Tensor:
        return torch.stack(outs[:2]).sum(0)


@pytest.mark.parametrize(("target", "outcome"), [(Selective, "passed"), (SeesTwoBranches, "failed")])
def test_what_is_right_with_as_many_kernels_as_by_default_is_judged_with_others(
    target: type, outcome: str
) -> None:
    assert "branches" in discover(target, BY_ID["selective_kernel"]).arguments["kernels"]

    report = run(
        target, mechanism="selective_kernel", isolate=False, seed=1, checks=("matches_the_reference",)
    )

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == outcome
