"""Inputs that a call may leave out are handed over as well, and left out as well."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from attncheck import run
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class Looking(nn.Module):
    """Multi-head attention of a sequence to itself, or to a context."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))

    def seen(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x if context is None else context

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = self.seen(x, context)
        parts = (self.query(x), self.key(context), self.value(context))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        out = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
        return self.output(out.transpose(1, 2).flatten(2))


class LookingAway(Looking):
    def seen(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x


@pytest.mark.parametrize(("target", "outcome"), [(Looking, "passed"), (LookingAway, "failed")])
def test_an_input_that_is_named_and_never_looked_at_is_a_finding(target: type, outcome: str) -> None:
    report = run(target, mechanism="multi_head", isolate=False, seed=1, checks=("matches_the_reference",))

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == outcome


class Packed(nn.Module):
    """One weight for queries, keys and values, which may all be one tensor or apart."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def valued(self, key: Tensor, value: Tensor) -> Tensor:
        return value

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Tensor:
        key = query if key is None else key
        value = key if value is None else value
        weights, biases = self.in_proj.weight.chunk(3), self.in_proj.bias.chunk(3)
        given = zip((query, key, self.valued(key, value)), weights, biases, strict=True)
        q, k, v = (linear(*each).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in given)
        out = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
        return self.out_proj(out.transpose(1, 2).flatten(2))


class ValuesOfKeys(Packed):
    def valued(self, key: Tensor, value: Tensor) -> Tensor:
        return key


@pytest.mark.parametrize(("target", "outcome"), [(Packed, "passed"), (ValuesOfKeys, "failed")])
def test_one_of_two_optional_inputs_that_is_ignored_is_a_finding(target: type, outcome: str) -> None:
    report = run(target, mechanism="multi_head", isolate=False, seed=1, checks=("matches_the_reference",))

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == outcome


def test_every_input_that_is_named_is_handed_over_and_the_spare_ones_are_known() -> None:
    found = discover(Packed, BY_ID["multi_head"])

    assert list(found.inputs) == ["q", "k", "v"]
    assert found.spare == ("k", "v")


class SwappedWithContext(nn.Module):
    """Keys and values trade places in the packed weight where there is a context, and only there."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Parameter(torch.randn(3 * dim, dim))
        self.out_proj = nn.Parameter(torch.randn(dim, dim))

    def parts(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, *others = self.in_proj.chunk(3)
        v, k = (linear(context, weight) for weight in others)
        return linear(x, query), k, v

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = linear(x, self.in_proj).chunk(3, dim=-1) if context is None else self.parts(x, context)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
        return linear(out.transpose(1, 2).flatten(2), self.out_proj)


class OneOrderForBoth(SwappedWithContext):
    def parts(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, *others = self.in_proj.chunk(3)
        k, v = (linear(context, weight) for weight in others)
        return linear(x, query), k, v


@pytest.mark.parametrize(("target", "outcome"), [(OneOrderForBoth, "passed"), (SwappedWithContext, "failed")])
def test_the_path_without_a_context_uses_the_weights_as_the_path_with_one(target: type, outcome: str) -> None:
    check = "one_tensor_for_several_matches"
    report = run(target, mechanism="multi_head", isolate=False, seed=1, checks=(check,))

    assert {v.check: v.outcome for v in report.verdicts}[check] == outcome


class NeedsAContext(OneOrderForBoth):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None, "there is always a context"
        return super().forward(x, context)


def test_an_input_that_a_call_cannot_do_without_is_never_left_out() -> None:
    assert discover(NeedsAContext, BY_ID["multi_head"]).spare == ()


class MaskForEach(OneOrderForBoth):
    """A mask of the sequence, and one of the context: which counts depends on what is handed over."""

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        keys, mask = (x, attention_mask) if context is None else (context, context_mask)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.parts(x, keys))
        logits = q @ k.mT * q.shape[-1] ** -0.5
        logits = logits if mask is None else logits + mask
        return linear((logits.softmax(-1) @ v).transpose(1, 2).flatten(2), self.out_proj)


def test_a_context_with_a_mask_of_its_own_is_never_left_out() -> None:
    found = discover(MaskForEach, BY_ID["multi_head"])

    assert found.mask is not None
    assert (found.mask.argument, found.spare) == ("context_mask", ())
    assert run(MaskForEach, mechanism="multi_head", budget="quick", isolate=False, seed=1).conforms
