"""Attention without an axis of heads or of samples is called as it wants to be, if it wants no more."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class OfThreeAxes(nn.Module):
    """Scaled dot-product attention by bmm, which takes three axes; beside the output come the logits."""

    axis = 2

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.root = dim**0.5

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        logits = torch.bmm(query, key.transpose(1, 2)) / self.root
        if mask is not None:
            logits = logits.masked_fill(mask.view(logits.size()), -torch.inf)
        return torch.bmm(logits.softmax(self.axis), value), logits


class OverQueries(OfThreeAxes):
    axis = 1


class OfOneSequence(nn.Module):
    """Self-attention of one sequence, without samples."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Parameter(torch.rand(d_in, d_out)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x @ self.W_query, x @ self.W_key, x @ self.W_value
        return torch.softmax(q @ k.T / k.shape[1] ** 0.5, dim=1) @ v


class OverTheSecondAxis(nn.Module):
    """Right for one sequence, but it takes samples too, and then its softmax runs over queries."""

    def __init__(self, query_dim: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_dim, head_dim)
        self.key, self.value = (nn.Linear(context_dim, head_dim) for _ in range(2))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        logits = self.query(x) @ self.key(context).mT / self.query.out_features**0.5
        return torch.softmax(logits, dim=1) @ self.value(context)


def of_one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / k.shape[1] ** 0.5, dim=1) @ v


@pytest.mark.parametrize(
    ("target", "mechanism", "layout"),
    [
        (OfThreeAxes, "scaled_dot_product", "one head, no axis"),
        (OfOneSequence, "multi_head", "one sample, no axis"),
        (of_one_head, "scaled_dot_product", "one head of one sample"),
    ],
)
def test_what_has_no_axis_for_heads_or_samples_conforms(target: type, mechanism: str, layout: str) -> None:
    found = discover(target, BY_ID[mechanism])

    assert (found.certainty, found.result_layout) == ("verified", layout)
    assert run(target, mechanism=mechanism, budget="quick", isolate=False, seed=1).conforms


@pytest.mark.parametrize(
    ("target", "mechanism", "layout"),
    [
        (OverQueries, "scaled_dot_product", "one head, no axis"),
        (OverTheSecondAxis, "cross", "batch first"),
    ],
)
def test_fewer_axes_excuse_no_mistake(target: type, mechanism: str, layout: str) -> None:
    assert discover(target, BY_ID[mechanism]).result_layout == layout
    assert not run(target, mechanism=mechanism, budget="quick", isolate=False, seed=1).conforms


def test_logits_beside_the_output_are_no_weights() -> None:
    found = discover(OfThreeAxes, BY_ID["scaled_dot_product"])

    assert found.result == "0"
    assert found.weights is None
