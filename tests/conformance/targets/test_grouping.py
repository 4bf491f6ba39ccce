"""Heads of queries may share heads of keys and values: as many, fewer, or one."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.strategies.tensors import make
from attncheck.targets.discover import discover
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.subject import Subject
from attncheck.targets.trying import case_for
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]


class Grouped(nn.Module):
    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int) -> None:
        super().__init__()
        self.width, self.group = d_model // n_heads, n_heads // n_kv_heads
        self.wq, self.wo = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.wk, self.wv = (nn.Linear(d_model, n_kv_heads * self.width) for _ in range(2))

    def shared(self, heads: Tensor) -> Tensor:
        return heads.repeat_interleave(self.group, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.width)).transpose(1, 2) for layer in (self.wq, self.wk, self.wv)
        )
        weights = (q @ self.shared(k).mT * self.width**-0.5).softmax(-1)
        return self.wo((weights @ self.shared(v)).transpose(1, 2).flatten(2))


class Tiled(Grouped):
    """Every second head of queries gets the same keys, where neighbours were to share them."""

    def shared(self, heads: Tensor) -> Tensor:
        return heads.repeat(1, self.group, 1, 1)


class OneForAll(nn.Module):
    """Multi-query attention: one head of keys and values, from one layer."""

    def __init__(self, dim: int, heads: int = 4, dim_head: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, dim, bias=False)

    def scale(self, width: int) -> float:
        return width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (t[:, None] for t in self.to_kv(x).chunk(2, -1))
        weights = (q @ k.mT * self.scale(q.shape[-1])).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class OneForAllUnscaled(OneForAll):
    def scale(self, width: int) -> float:
        return 1.0


@pytest.mark.parametrize(("target", "shared"), [(Grouped, "2 - heads % 2"), (OneForAll, "1")])
def test_what_is_shared_is_found_and_said(target: type[nn.Module], shared: str) -> None:
    found = discover(target, MULTI_HEAD)

    assert (found.certainty, found.shared) == ("verified", shared)
    assert f"heads of keys and values, each for several of queries: {shared}" in found.notes


def test_heads_of_a_group_get_the_same_weights() -> None:
    found = discover(Grouped, MULTI_HEAD)
    adapter = FoundAdapter(found, Grouped)
    case = case_for(found, MULTI_HEAD, {"heads": 4, "model_dim": 12})
    assert case is not None

    key = make(Subject(MULTI_HEAD, adapter.interface).parameters(case)["key.weight"]).unflatten(0, (4, 3))

    assert torch.equal(key[0], key[1])
    assert torch.equal(key[2], key[3])
    assert not torch.equal(key[1], key[2])


@pytest.mark.parametrize(
    ("target", "outcome"),
    [(Grouped, "passed"), (Tiled, "failed"), (OneForAll, "passed"), (OneForAllUnscaled, "failed")],
)
def test_a_mistake_of_sharing_is_found(target: type[nn.Module], outcome: str) -> None:
    report = run(
        target, "multi_head", isolate=False, seed=1, explain=False, checks=("matches_the_reference",)
    )

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == outcome
