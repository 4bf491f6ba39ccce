"""Sizes at which a target is not what was found are no sizes at which it is judged."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets import search
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


class Eighth(nn.Module):
    """An eighth of the channels asks, which is none of fewer than eight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.query, self.key = (nn.Conv2d(channels, channels // 8, 1) for _ in range(2))
        self.value, self.gamma = nn.Conv2d(channels, channels, 1), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        read = v @ torch.softmax(q.mT @ k, -1).mT
        return self.gamma * read.view(x.shape) + x


def test_queries_that_vanish_for_few_channels_are_judged_where_there_are_some() -> None:
    found = discover(Eighth, BY_ID["spatial_self"])

    assert found.certainty == "verified"
    assert found.derived["reduced"] == "channels // 8"
    assert run(
        Eighth, mechanism="spatial_self", isolate=False, seed=1, checks=("matches_the_reference",)
    ).conforms
