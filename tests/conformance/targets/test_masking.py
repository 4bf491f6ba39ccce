"""Which form of mask a target takes, where its own mistake leaves none under which it is right."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class MaskOfTheFirstSample(nn.Module):
    """Takes a mask of any batch, and so one of samples and heads in one axis as well."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        if mask is not None:
            logits = logits.masked_fill(~mask[:1], -torch.inf)
        return self.o((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_samples_and_heads_in_one_axis_are_the_last_guess_where_no_form_agrees() -> None:
    found = discover(MaskOfTheFirstSample, BY_ID["multi_head"])

    assert found.mask is not None
    assert not found.mask.folded


class NewAxesInFront(nn.Module):
    """mask: True = may attend, (q_len, kv_len), (batch, q_len, kv_len) or (batch, heads, q_len, kv_len)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        if mask is not None:
            while mask.dim() < 4:
                mask = mask[None]
            logits = logits.masked_fill(~mask, -torch.inf)
        return self.o((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_a_mask_of_samples_that_is_documented_is_asked_for_where_it_fits_the_heads_alone() -> None:
    report = run(
        NewAxesInFront, mechanism="multi_head", isolate=False, seed=1, checks=("masks_of_lower_rank_match",)
    )

    assert not report.conforms


class ByHeads(nn.Module):
    """Multi-head attention with heads and samples in one axis, whose mask is one for all samples or one for each."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))

    def for_heads(self, mask: Tensor) -> Tensor:
        return mask.repeat_interleave(self.num_heads, 0)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        logits = q @ k.mT / q.shape[-1] ** 0.5
        if mask is not None:
            mask = self.for_heads(mask) if mask.dim() == 3 else mask
            logits = logits.masked_fill(~mask, -torch.inf)
        out = (logits.softmax(-1) @ v).unflatten(0, (-1, self.num_heads))
        return self.o(out.transpose(1, 2).flatten(2))


class ByHeadsInAnotherOrder(ByHeads):
    def for_heads(self, mask: Tensor) -> Tensor:
        return mask.repeat(self.num_heads, 1, 1)


@pytest.mark.parametrize(("target", "conforms"), [(ByHeads, True), (ByHeadsInAnotherOrder, False)])
def test_a_mask_for_each_sample_is_judged_where_it_is_taken_though_one_for_all_of_them_agrees(
    target: type, conforms: bool
) -> None:
    found = discover(target, BY_ID["multi_head"])

    assert found.mask is not None
    assert found.mask.axes == ("batch", "q_len", "kv_len")
    assert run(target, mechanism="multi_head", budget="quick", isolate=False, seed=1).conforms == conforms


class SamplesLast(nn.Module):
    """Multi-head attention on (length, batch, features), whose mask is (queries, keys, batch)."""

    def __init__(self, heads: int, d_model: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1))
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        scores = torch.einsum("ibhd,jbhd->ijbh", q, k) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf)
        return self.output(torch.einsum("ijbh,jbhd->ibhd", scores.softmax(1), v).flatten(2))


def test_the_samples_of_a_mask_may_be_its_last_axis() -> None:
    found = discover(SamplesLast, BY_ID["multi_head"])

    assert found.mask is not None
    assert (found.mask.axes, found.mask.polarity) == (("q_len", "kv_len", "batch"), "true attends")
    assert run(SamplesLast, mechanism="multi_head", budget="quick", isolate=False, seed=1).conforms


class Scored(nn.Module):
    """Dot-product attention whose mask says which keys, of all queries or of each, may be attended to."""

    merges = False

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        if mask is not None:
            mask = mask.any(1, keepdim=True) if self.merges else mask
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ values


class ExactlyShaped(Scored):
    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        wanted = (queries.shape[0], queries.shape[1], keys.shape[1])
        if mask is not None and mask.shape != wanted:
            raise ValueError(f"expected a mask of shape {wanted}, got {tuple(mask.shape)}")
        return super().forward(queries, keys, values, mask)


class Merging(Scored):
    merges = True


class MergingDocumented(Scored):
    merges = True

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            mask: (batch, q_len, kv_len), True where attention is allowed
        """
        return super().forward(queries, keys, values, mask)


class MergingOneRow(Scored):
    merges = True

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            mask: (batch, 1, kv_len), True where attention is allowed
        """
        return super().forward(queries, keys, values, mask)


@pytest.mark.parametrize(
    ("target", "rows"),
    [
        (Scored, "q_len"),
        (ExactlyShaped, "q_len"),
        (Merging, "1"),
        (MergingDocumented, "q_len"),
        (MergingOneRow, "1"),
    ],
)
def test_a_mask_has_a_row_for_every_query_where_it_is_read_so_or_said_to(
    target: type[nn.Module], rows: str
) -> None:
    found = discover(target, BY_ID["dot_product"])

    assert found.mask is not None
    assert found.mask.axes == ("batch", rows, "kv_len")


class Counted(nn.Module):
    """Dot-product attention to as many keys as a sample is said to have."""

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        scores = queries @ keys.mT / queries.shape[-1] ** 0.5
        if lengths is not None:
            # A length for every query makes one mask for each pair of samples of it.
            visible = torch.arange(keys.shape[1]) < lengths.unsqueeze(-1)
            scores = scores.masked_fill(~visible.unsqueeze(1), -torch.inf)
        return scores.softmax(-1) @ values


def test_lengths_of_queries_that_make_an_output_of_another_shape_are_not_taken() -> None:
    found = discover(Counted, BY_ID["dot_product"])

    assert found.mask is not None
    assert found.mask.axes == ("batch",)


class WritesToQueries(nn.Module):
    """Scales the caller's queries in place."""

    def written(self, q: Tensor, mask: Tensor | None) -> None:
        q *= q.shape[-1] ** -0.5

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        seen = mask.clone() if mask is not None else torch.ones((), dtype=torch.bool)
        scale = q.shape[-1] ** -0.5
        before = q.clone()
        self.written(q, mask)
        return (before @ k.mT * scale).masked_fill(~seen, -torch.inf).softmax(-1) @ v


class WritesToMasks(WritesToQueries):
    """Shows every key in the caller's mask, once it has been read."""

    def written(self, q: Tensor, mask: Tensor | None) -> None:
        if mask is not None:
            mask |= True


@pytest.mark.parametrize(("target", "name"), [(WritesToQueries, "q"), (WritesToMasks, "mask")])
def test_what_is_written_to_is_named_whether_or_not_a_mask_is_there(target: type, name: str) -> None:
    report = run(
        target, mechanism="scaled_dot_product", budget="quick", seed=1, isolate=False,
        checks=("runs_at_every_legal_size", "never_mutates_inputs"),
    )  # fmt: skip

    assert [verdict.check for verdict in report.failed] == ["never_mutates_inputs"]
    assert report.failed[0].findings[0].actual == f"{name} was written to"
