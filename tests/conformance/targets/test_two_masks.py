"""Masks as published attention takes them: one for all samples, one for padding, one that is written to."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.report import Report
from attncheck.targets import search


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


def judged(target: type[nn.Module], *checks: str) -> Report:
    return run(
        Request(target, "multi_head", checks=checks, budget="quick", seed=0, isolate=False, explain=False)
    )


class TwoMasks(nn.Module):
    """A mask for all samples that is added, and one that is true for padding."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.q, self.k, self.v, self.out = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Of query and key, (batch, length, embed_dim); attn_mask is (tgt_len, src_len)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in zip((self.q, self.k, self.v), (query, key, value), strict=True)
        )
        scores = self.hidden(q @ k.mT * q.shape[-1] ** -0.5, key_padding_mask, attn_mask)
        out: Tensor = self.out((softmax(scores, -1) @ v).transpose(1, 2).flatten(2))
        return out

    def hidden(self, scores: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores = scores + mask
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None], -torch.inf)
        return scores


class OneOfTwo(TwoMasks):
    """With a mask, padding is forgotten."""

    def hidden(self, scores: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        return super().hidden(scores, padding if mask is None else None, mask)


class OfAnotherSample(TwoMasks):
    """Padding of the first sample hides keys from all."""

    def hidden(self, scores: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        padding = None if padding is None else padding[:1].expand(padding.shape)
        return super().hidden(scores, padding, mask)


LAWS = ("masks_hold_together", "masked_equals_removed", "matches_the_reference")


@pytest.mark.parametrize(
    ("target", "failed"),
    [
        (TwoMasks, []),
        (OneOfTwo, ["masks_hold_together"]),
        (OfAnotherSample, ["masked_equals_removed", "matches_the_reference", "masks_hold_together"]),
    ],
)
def test_padding_differs_from_sample_to_sample_beside_a_mask_and_without_one(
    target: type[nn.Module], failed: list[str]
) -> None:
    report = judged(target, *LAWS)

    assert sorted(v.check for v in report.failed) == sorted(failed)


class CountsAxes(TwoMasks):
    """One mask, of queries and keys or, with two axes, of each sample's keys."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            mask = ~(self.rows(mask, query.shape[1]) if mask.dim() == 2 else mask)[:, None]
        return super().forward(query, key, value, None, mask)

    def rows(self, mask: Tensor, q_len: int) -> Tensor:
        return mask[:, None]

    def hidden(self, scores: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        return scores if mask is None else scores.masked_fill(mask, -torch.inf)


class TilesInTheWrongOrder(CountsAxes):
    """The rows of a sample are those of all samples in turn."""

    def rows(self, mask: Tensor, q_len: int) -> Tensor:
        return mask.repeat(q_len, 1).reshape(mask.shape[0], q_len, -1)


@pytest.mark.parametrize(("target", "code"), [(CountsAxes, 0), (TilesInTheWrongOrder, 1)])
def test_a_mask_of_fewer_axes_is_handed_over_where_they_are_counted(
    target: type[nn.Module], code: int
) -> None:
    report = judged(target, "matches_the_reference", "runs_at_every_legal_size")

    assert report.exit_code == code


class WritesToItsMask(TwoMasks):
    """Makes numbers to add of ones and zeros, in the caller's memory."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]  # another signature
        """The mask is (batch, heads, tgt_len, src_len), 1 for keys to attend to and 0 for masked ones."""
        if mask is not None:
            mask.sub_(1.0).mul_(-torch.finfo(mask.dtype).min)
        return super().forward(query, key, value, attn_mask=mask)


def test_a_mask_that_was_made_for_the_call_is_not_to_be_written_to_either() -> None:
    report = judged(WritesToItsMask, "never_mutates_inputs", "repeats_itself")

    assert [v.check for v in report.failed] == ["never_mutates_inputs", "repeats_itself"]


class FirstHeadsMask(TwoMasks):
    """A mask for each head is taken, and the first one is used for all."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]  # another signature
        return super().forward(query, key, value, attn_mask=self.read(mask))

    def read(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else torch.zeros(()).masked_fill(mask[:, :1] == 0, -torch.inf)


class DocumentedForAllHeads(FirstHeadsMask):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]  # another signature
        """mask: (batch, 1, tgt_len, src_len)"""
        return super().forward(query, key, value, mask)


def test_a_mask_of_every_head_that_is_taken_must_be_read() -> None:
    assert not judged(FirstHeadsMask, "matches_the_reference").conforms
    assert judged(DocumentedForAllHeads, "matches_the_reference").conforms


class HidesQueries(FirstHeadsMask):
    """The mask of the keys runs along the queries, which returns where there are as many of both."""

    def read(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else torch.zeros(()).masked_fill(~mask[:, None, :, None], -torch.inf)


def test_a_mask_that_is_taken_at_coincidences_alone_is_judged() -> None:
    report = judged(HidesQueries, "matches_the_reference")

    assert not report.conforms
