"""A tensor in another layout than the reference's is found to hold the same, and what it holds is right."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from attncheck.targets import search
from attncheck.targets.discover import discover
from attncheck.targets.documentation import documented
from attncheck.targets.notes import notes_of
from attnref.catalogue import BY_ID


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 4.0)


class ChannelsLast(nn.Module):
    """A spatial gate over maps of (batch, height, width, channels), whose kernel has its channels last as well."""

    ORDER = (3, 2, 0, 1)

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(self.shape(kernel_size)) / kernel_size)

    def shape(self, size: int) -> tuple[int, ...]:
        return (size, size, 2, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = torch.cat([inputs.mean(-1, keepdim=True), inputs.amax(-1, keepdim=True)], -1)
        kernel = self.kernel.permute(self.ORDER)
        scores = conv2d(seen.permute(0, 3, 1, 2), kernel, padding=kernel.shape[-1] // 2)
        return inputs * scores.permute(0, 2, 3, 1).sigmoid()


class OutputsFirst(ChannelsLast):
    """The same with the kernel's outputs before its window."""

    ORDER = (0, 3, 1, 2)

    def shape(self, size: int) -> tuple[int, ...]:
        return (1, size, size, 2)


class CountedFromZero(nn.Module):
    """A table that begins at offset zero: what lies behind is read by negative indices."""

    FORWARDS = True

    def __init__(self, width: int, n_heads: int, length: int) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError("heads share the width evenly")
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.offset = nn.Parameter(torch.randn(n_heads, 2 * length - 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        place = torch.arange(x.shape[1])
        offset = place[:, None] - place
        bias = self.offset[:, offset if self.FORWARDS else -offset]
        weights = (q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(-1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


class CountedBackwards(CountedFromZero):
    FORWARDS = False


@pytest.mark.parametrize(
    ("target", "mechanism", "pattern"),
    [
        (ChannelsLast, "cbam_spatial", "o i k l -> k l i o"),
        (OutputsFirst, "cbam_spatial", "o i k l -> o k l i"),
        (CountedFromZero, "relative_position", "roll o i -> i o"),
        (CountedBackwards, "relative_position", "flip roll o i -> i o"),
    ],
)
def test_a_right_one_is_verified_in_its_own_layout(
    target: type[nn.Module], mechanism: str, pattern: str
) -> None:
    found = discover(target, BY_ID[mechanism])

    assert found.certainty == "verified"
    assert pattern in {placement.pattern for placement in found.placements}


class Unknown(ChannelsLast):
    """A gate with weights that the reference has no place for.

    Args:
        inputs: (batch, height, width, channels)
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__(kernel_size)
        self.heights = nn.Parameter(torch.randn(5))

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = super().forward(inputs) * self.heights.mean()
        return out


def test_a_guess_follows_the_documentation_and_contradicts_none() -> None:
    assert documented(Unknown, None, headed=False)["layout"][0] == "channels_last"

    found = discover(Unknown, BY_ID["cbam_spatial"])

    assert (found.certainty, found.result_layout) == ("guessed", "channels last")
    assert found.documented == {}


def test_a_header_names_some_of_many_weights_and_counts_the_rest() -> None:
    found = discover(CountedFromZero, BY_ID["relative_position"])

    many = notes_of(found)
    assert any(note.endswith("offset = table as roll o i -> i o") for note in many)

    long = replace(found, placements=found.placements * 9)
    (weights,) = (note for note in notes_of(long) if note.startswith("weights: "))
    left = len(long.placements) - 16
    assert weights.endswith(f"and {left} more (attncheck adapt writes them all)")
