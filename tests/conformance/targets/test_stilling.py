"""Dropout that nothing sets is stilled, and a rate that is ignored is a mistake."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class Fixed(nn.Module):
    """Multi-head attention whose weights are dropped at a tenth, whatever is asked for."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.drop = nn.Dropout(0.1)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        weights = self.drop(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1))
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class OneOfTwo(Fixed):
    """Another rate can be chosen."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__(dim, heads)
        self.last = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.last(super().forward(query, key, value))


class Ignored(Fixed):
    def __init__(self, dim: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__(dim, heads)


class OfTorch(nn.Module):
    """Torch's own, at a rate that it keeps for itself."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout=0.1, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = self.attention(query, key, value, need_weights=False)[0]
        return out


class DropsAlways(Fixed):
    """Its rate is a number, which a function drops at in evaluation too."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.drop = nn.Identity()
        self.dropout = 0.1

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(query, key, value), self.dropout)


def test_a_number_that_a_function_drops_at_is_left_alone() -> None:
    assert not run(DropsAlways, mechanism="multi_head", budget="quick", isolate=False, seed=1).conforms


@pytest.mark.parametrize(
    ("target", "stilled", "outcome"),
    [
        (Fixed, ("drop.p",), "passed"),
        (OneOfTwo, ("drop.p",), "passed"),
        (OfTorch, ("attention.dropout",), "passed"),
        (Ignored, (), "failed"),
    ],
)
def test_what_no_argument_sets_is_stilled_unless_one_ought_to(
    target: type, stilled: tuple[str, ...], outcome: str
) -> None:
    found = discover(target, BY_ID["multi_head"])

    assert found.stilled == stilled
    told = any(line.startswith("dropout at a rate that nothing sets, so set to 0: ") for line in found.notes)
    assert told == bool(stilled)
    check = "trains_as_it_evaluates"
    report = run(target, mechanism="multi_head", budget="quick", isolate=False, seed=1, checks=(check,))
    assert {v.check: v.outcome for v in report.verdicts}[check] == outcome
