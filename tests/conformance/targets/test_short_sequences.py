"""Tables of offsets that serve shorter sequences too: these read the middle."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.model.report import Report
from attncheck.targets import search
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


class UpToALength(nn.Module):
    """A bias for each head and offset, for sequences of up to `max_len` tokens."""

    def __init__(self, dim: int, heads: int, max_len: int) -> None:
        super().__init__()
        self.heads, self.max_len = heads, max_len
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Embedding(2 * max_len - 1, heads)

    def zero(self, length: int) -> int:
        """The row of the table for a token and itself."""
        return self.max_len - 1

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        position = torch.arange(x.shape[1])
        rows = position[:, None] - position + self.zero(x.shape[1])
        scores = q @ k.mT * q.shape[-1] ** -0.5 + self.bias(rows).permute(2, 0, 1)
        out: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return out


class FromTheBeginning(UpToALength):
    """The origin moves with the length of the call."""

    def zero(self, length: int) -> int:
        return length - 1


def judged(target: type[nn.Module]) -> Report:
    return run(
        target, mechanism="relative_position", isolate=False, seed=1,
        checks=("shorter_sequences_read_the_middle", "matches_the_reference"),
    )  # fmt: skip


def test_an_origin_that_moves_with_the_length_is_found_though_full_lengths_are_right() -> None:
    assert [v.check for v in judged(FromTheBeginning).failed] == ["shorter_sequences_read_the_middle"]


def test_shorter_sequences_that_read_the_middle_are_right() -> None:
    report = judged(UpToALength)

    assert {v.check: v.outcome for v in report.verdicts}["shorter_sequences_read_the_middle"] == "passed"
    assert report.conforms


class TakesALoneTokenForAll(UpToALength):
    """One token is broadcast over the table of all; any other number of tokens raises."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        position = torch.arange(self.max_len)
        bias = self.bias(position[:, None] - position + self.max_len - 1).permute(2, 0, 1)
        scores = q @ k.mT * q.shape[-1] ** -0.5 + bias
        out: Tensor = self.proj(
            (scores.softmax(-1) @ v.expand(-1, -1, self.max_len, -1)).transpose(1, 2).flatten(2)
        )
        return out


def test_a_lone_token_that_is_broadcast_is_no_shorter_sequence() -> None:
    assert "shorter_sequences_read_the_middle" not in [v.check for v in judged(TakesALoneTokenForAll).failed]


class OfOneToken(UpToALength):
    """Takes any number of tokens, and its argument for theirs has a name that tells nothing."""

    def __init__(self, dim: int, heads: int, extent) -> None:  # type: ignore[no-untyped-def]  # of no type either
        super().__init__(dim, heads, int(extent))

    def zero(self, length: int) -> int:
        """Beside a token itself: right only among one."""
        return min(self.max_len, 2 * self.max_len - 2)


def test_what_agrees_among_one_token_is_not_taken_for_understood() -> None:
    found = discover(OfOneToken, BY_ID["relative_position"])

    assert found.certainty != "verified"
    assert found.arguments["extent"] != "True"
