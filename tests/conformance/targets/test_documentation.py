"""A target says of itself what its masks mean and how its tensors lie; it is taken at its word."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.documentation import (
    documented,
    documented_ranks,
    documents_one_query,
    masks_all_heads_alike,
    takes_booleans,
    waives_causality,
)

Option = str | None


def told(docstring: str) -> Callable[..., None]:
    def attention(q: Tensor, mask: Tensor | None = None, other: Tensor | None = None) -> None: ...

    attention.__doc__ = docstring
    return attention


@pytest.mark.parametrize(
    ("docstring", "option"),
    [
        ("mask: True = may attend.", "true_attends"),
        ("mask is 1 where attention is allowed", "true_attends"),
        ("Entries of the mask that are False are ignored.", "true_attends"),
        ("mask: True means ignore", "true_ignores"),
        ("mask (Tensor): a ``True`` value says that the position is not allowed to attend", "true_ignores"),
        ("mask: 0 to keep, 1 to drop", "true_ignores"),
        ("mask: True for padding", "true_ignores"),
        ("mask: optional, rank 3", None),
        ("dropout of 0.0 leaves the mask alone", None),
        ("mask: True attends\\nother: True means ignore", "true_attends"),
        ("q: the queries\\nmask: broadcast to the scores\\nother: a mask, True means ignore", None),
        ("Unlike elsewhere, where a mask is True where ignored.\\nmask: True where visible", "true_attends"),
        ("The mask is True where visible. The mask is True where ignored.", None),
    ],
)
def test_what_a_docstring_says_of_its_mask_is_read(docstring: str, option: Option) -> None:
    stated = documented(told(docstring.replace("\\n", "\n")), "mask", headed=False)

    assert stated.get("mask_polarity", (None,))[0] == option


def test_torch_is_read_as_it_is_meant() -> None:
    function, module = torch.nn.functional.scaled_dot_product_attention, nn.MultiheadAttention

    assert documented(function, "attn_mask", headed=True)["mask_polarity"][0] == "true_attends"
    assert documented(module, "attn_mask", headed=False)["mask_polarity"][0] == "true_ignores"
    assert documented(module, "key_padding_mask", headed=False)["mask_polarity"][0] == "true_ignores"


def batch_named(x: Tensor) -> None:
    _batch, _length, _width = x.shape


def length_named(x: Tensor) -> None:
    _t, _bsz = x.size(0), x.size(1)


def unnamed(x: Tensor) -> None:
    _n, _l, _d = x.shape


def moved_first(x: Tensor) -> None:
    x = x.transpose(0, 1)
    _batch, _length, _width = x.shape


@pytest.mark.parametrize(
    ("function", "option"),
    [(batch_named, "batch_first"), (length_named, "sequence_first"), (unnamed, None), (moved_first, None)],
)
def test_names_of_unpacked_sizes_tell_the_layout(function: Callable[..., None], option: Option) -> None:
    assert documented(function, None, headed=False).get("layout", (None,))[0] == option


@pytest.mark.parametrize(
    ("docstring", "option"),
    [
        ("A rewrite, sequence first: (L, N, E).", "sequence_first"),
        ("x: (batch, tokens, dim)", "batch_first"),
        ("x: (L, N, E), or (N, L, E) if batch_first", None),
        ("x: (batch, channels, height, width)", "channels_first"),
        ("x: [B, H, W, C]", "channels_last"),
        ("x: [batch, time, channels, height, width]", "channels_at_2"),
        # As torch returns them beside outputs with the length first.
        ("weights: (batch, q_len, kv_len)", None),
        ("q (Lq, B, E) with weights (B, Lq, Lk)", "sequence_first"),
        ("a pair (x, y)", None),
    ],
)
def test_documented_shapes_tell_the_layout(docstring: str, option: Option) -> None:
    assert documented(told(docstring), None, headed=False).get("layout", (None,))[0] == option


class Contrary(nn.Module):
    """Single-head attention. mask: True means ignore."""

    def __init__(self, query_size: int, key_size: int, head_dim: int, v_dim: int):
        super().__init__()
        self.query = nn.Linear(query_size, head_dim)
        self.key = nn.Linear(key_size, head_dim)
        self.value = nn.Linear(key_size, v_dim)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        return nn.functional.scaled_dot_product_attention(
            self.query(x), self.key(y), self.value(y), attn_mask=mask
        )


class Agreeing(Contrary):
    """Single-head attention. mask: True where a key may be attended."""


def test_a_mask_that_means_the_opposite_of_its_documentation_is_a_finding() -> None:
    outcomes = [
        {
            v.check: v.outcome
            for v in run(target, mechanism="cross", isolate=False, seed=1, budget="quick").verdicts
        }["contradicts_its_documentation"]
        for target in (Contrary, Agreeing)
    ]

    assert outcomes == ["failed", "passed"]


def test_a_shape_with_an_ellipsis_says_no_rank() -> None:
    """torch's own operator takes a mask of any rank that broadcasts to (N, ..., Hq, L, S)."""
    assert documented_ranks(torch.nn.functional.scaled_dot_product_attention, "attn_mask") == set()


def test_a_shape_in_latex_says_its_rank() -> None:
    """torch's module takes (L, S), or (N·num_heads, L, S) with one mask a head."""
    assert documented_ranks(torch.nn.MultiheadAttention, "attn_mask") == {2, 3}


class CausalAlone(nn.Module):
    """Attention.

    is_causal (bool): sets the default mask to causal when no mask is provided.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x if mask is None else x * mask


class CausalAlways(CausalAlone):
    """A position attends to itself and the past.

    is_causal (bool): hides the future. mask may be left out: no mask hides nothing.
    """


def test_causality_that_a_mask_replaces_is_read_where_it_is_said() -> None:
    assert waives_causality(CausalAlone)
    assert not waives_causality(CausalAlways)


class OneQuery:
    """A step of a decoder.

    query: decoder state (batch, 1, query_size)
    keys: encoder states (batch, length, key_size)
    """

    def forward(self, query: Tensor, keys: Tensor) -> Tensor: ...


class OneQueryInWords(OneQuery):
    """- **query** (batch, q_len, dim): what the decoder gives, q_len is 1."""


class ManyQueries(OneQuery):
    """
    query: (batch, length, query_size)
    mask: (batch, 1, length), so that one row serves all queries
    """

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor: ...


@pytest.mark.parametrize(("target", "one"), [(OneQuery, True), (OneQueryInWords, True), (ManyQueries, False)])
def test_a_target_may_say_that_it_takes_one_query_a_sample(target: type, one: bool) -> None:
    assert documents_one_query(target) is one


class OverHeads(nn.Module):
    def forward(self, q: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None and mask.dim() == 3:
            # The same mask for all heads.
            mask = mask.unsqueeze(0)
        return q if mask is None else q * mask


class OfHeads(nn.Module):
    def forward(self, q: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(0)
        return q if mask is None else q * mask


@pytest.mark.parametrize(("target", "alike"), [(OverHeads, True), (OfHeads, False)])
def test_a_mask_of_rank_three_is_of_samples_where_a_comment_says_it_is_the_same_for_all_heads(
    target: type, alike: bool
) -> None:
    assert masks_all_heads_alike(target, "mask") is alike


@pytest.mark.parametrize(
    ("words", "polarity"),
    [
        ("mask may be boolean (True = take part) or floating point (added to the scores).", "true_attends"),
        ("mask: bool tensor, True = ignored.", "true_ignores"),
        ("mask: 0 where a key is kept, -inf where it is hidden.", None),
        ("mask: (batch, q_len, kv_len), True where attention is allowed.", "true_attends"),
        ("mask: true for padding, one for the others.", None),
        ("mask is boolean.", None),
        ("other: bool, True = ignored.", None),
        ("mask   added to the scores\nother  bool, True = ignored", None),
    ],
)
def test_a_mask_is_boolean_where_that_word_or_a_value_of_it_is_said(words: str, polarity: Option) -> None:
    assert takes_booleans(told(words), "mask") == polarity
