"""What a call takes besides its tensors is recognised by what it does, not by what it is called."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attnref.catalogue import BY_ID

Attention = Callable[..., Tensor]


def attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if visible is not None:
        logits = logits.masked_fill(~visible, -torch.inf)
    # A row that sees nothing gives zeros, as in the reference.
    return torch.softmax(logits, dim=-1).nan_to_num(0.0) @ v


def true_attends(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return attended(q, k, v, mask)


def true_ignores(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return attended(q, k, v, None if mask is None else ~mask)


def additive(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    logits = q @ k.mT * q.shape[-1] ** -0.5 + (0.0 if mask is None else mask)
    return torch.softmax(logits, dim=-1).nan_to_num(0.0) @ v


def one_attends(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if mask is not None and not mask.is_floating_point():
        raise TypeError("expected ones and zeros")
    return attended(q, k, v, None if mask is None else mask == 1)


def lengths(q: Tensor, k: Tensor, v: Tensor, kv_lens: Tensor | None = None) -> Tensor:
    visible = None if kv_lens is None else torch.arange(k.shape[2]) < kv_lens.reshape(-1, 1, 1, 1)
    return attended(q, k, v, visible)


def found(function: Attention) -> Found:
    return discover(function, BY_ID["scaled_dot_product"])


@pytest.mark.parametrize("function", [true_attends, true_ignores, additive, one_attends, lengths])
def test_the_polarity_of_a_mask_is_seen(function: Attention) -> None:
    seen = found(function)

    assert seen.mask is not None
    assert seen.mask.polarity == function.__name__.replace("_", " ")
    assert seen.conventions["mask_polarity"] == function.__name__


def causal_from(offset: Callable[[int, int], int]) -> Attention:
    def attend(q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False) -> Tensor:
        rows, columns = q.shape[2], k.shape[2]
        visible = torch.ones(rows, columns, dtype=torch.bool).tril(offset(rows, columns))
        return attended(q, k, v, visible if is_causal else None)

    return attend


@pytest.mark.parametrize(
    ("offset", "alignment"),
    [(lambda q_len, kv_len: 0, "upper_left"), (lambda q_len, kv_len: kv_len - q_len, "lower_right")],
)
def test_where_the_causal_diagonal_starts_is_seen(offset: Callable[[int, int], int], alignment: str) -> None:
    assert found(causal_from(offset)).conventions["causal_alignment"] == alignment


def test_a_scale_of_the_call_is_handed_over() -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, softmax_scale: float | None = None) -> Tensor:
        scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
        return torch.softmax(q @ k.mT * scale, dim=-1) @ v

    assert found(attend).switches["scale"] == "softmax_scale=scale"


def test_weights_that_come_back_are_seen_with_their_heads_or_averaged() -> None:
    from torch import nn

    seen = discover(nn.MultiheadAttention, BY_ID["multi_head"])

    assert (seen.weights, seen.conventions["weights_returned"]) == ("1", "averaged")


def test_every_assumption_is_a_line_of_the_notes() -> None:
    notes = "\n".join(found(true_ignores).notes)

    assert "called with (q=q, k=k, v=v)" in notes
    assert "mask: mask (batch, heads, q_len, kv_len), true ignores" in notes


def dropped_by_a_rate(q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0) -> Tensor:
    return torch.dropout(torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1), dropout_p, train=True) @ v


def dropped_by_a_module(q: Tensor, k: Tensor, v: Tensor, dropout: nn.Module | None = None) -> Tensor:
    weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
    return (weights if dropout is None else dropout(weights)) @ v


def dropped_in_training(
    q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, training: bool = False
) -> Tensor:
    return torch.dropout(torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1), dropout_p, training) @ v


def test_a_function_that_drops_in_training_alone_is_told_that_it_is_trained() -> None:
    adapter = found(dropped_in_training)

    assert adapter.switches["dropout"] == "dropout_p=dropout"
    assert [(a.name, a.constant) for a in adapter.call if a.constant] == [("training", "True")]


def test_dropout_is_handed_over_as_the_rate_or_the_module_that_is_taken() -> None:
    assert found(dropped_by_a_rate).switches["dropout"] == "dropout_p=dropout"
    assert found(dropped_by_a_module).switches["dropout"] == "dropout=torch.nn.Dropout(dropout)"


def biased_the_other_way_round(q: Tensor, k: Tensor, v: Tensor, attn_bias: Tensor | None = None) -> Tensor:
    logits = q @ k.mT * q.shape[-1] ** -0.5
    return torch.softmax(logits if attn_bias is None else logits + attn_bias.mT, dim=-1) @ v


def test_a_bias_that_is_taken_only_where_lengths_are_equal_is_judged() -> None:
    assert found(biased_the_other_way_round).biased == "attn_bias"


def masked_where_batch_is_heads(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """mask: (batch, q_len, kv_len), True attends."""
    return attended(q, k, v, None if mask is None else mask.unsqueeze(0))


def masked_in_each_sample(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """mask: (batch, q_len, kv_len), True attends."""
    return attended(q, k, v, None if mask is None else mask.unsqueeze(1))


@pytest.mark.parametrize("function", [masked_where_batch_is_heads, masked_in_each_sample])
def test_a_mask_has_the_rank_that_is_documented(function: Attention) -> None:
    seen = found(function)

    assert seen.mask is not None
    assert seen.mask.axes == ("batch", "q_len", "kv_len")


def lengths_of_either_rank(q: Tensor, k: Tensor, v: Tensor, valid_lens: Tensor | None = None) -> Tensor:
    if valid_lens is None:
        return attended(q[:, None], k[:, None], v[:, None], None)[:, 0]
    lens = valid_lens[:, None, None] if valid_lens.dim() == 1 else valid_lens[:, None, :]
    return attended(q[:, None], k[:, None], v[:, None], (torch.arange(k.shape[1]) < lens)[:, None])[:, 0]


def test_lengths_of_every_query_are_judged_where_the_source_speaks_of_them() -> None:
    seen = discover(lengths_of_either_rank, BY_ID["dot_product"])

    assert seen.mask is not None
    assert seen.mask.axes == ("batch", "q_len")


def masked_twice(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None
) -> Tensor:
    hidden = torch.zeros(q.shape[0], 1, q.shape[2], k.shape[2], dtype=torch.bool)
    if attn_mask is not None:
        hidden = hidden | attn_mask
    if key_padding_mask is not None:
        hidden = hidden | key_padding_mask[:, None, None]
    return attended(q, k, v, ~hidden)


def padded_in_the_first_sample_alone(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None
) -> Tensor:
    first = None if key_padding_mask is None else key_padding_mask[:1]
    return masked_twice(q, k, v, attn_mask, first)


@pytest.mark.parametrize(
    ("function", "outcome"), [(masked_twice, "passed"), (padded_in_the_first_sample_alone, "failed")]
)
def test_an_argument_for_padding_beside_a_mask_is_judged_as_well(function: Attention, outcome: str) -> None:
    seen = found(function)
    report = run(
        function, mechanism="scaled_dot_product", checks=("masked_equals_removed",), isolate=False, seed=1
    )

    assert seen.mask is not None
    assert seen.padding is not None
    assert (seen.mask.argument, seen.padding.argument) == ("attn_mask", "key_padding_mask")
    assert {v.check: v.outcome for v in report.verdicts}["masked_equals_removed"] == outcome


class TakesMore(nn.Module):
    """Its last argument is none that the mechanism knows."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, chunks: int = 1) -> Tensor:
        return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v


class MadeWithMore(TakesMore):
    """Its constructor takes an option that the mechanism knows nothing of, and says where its weights are."""

    def __init__(self, dropout: float = 0.0, flavour: str = "plain", device: str | None = None) -> None:
        super().__init__()


def test_options_that_nothing_was_made_of_are_named() -> None:
    notes = discover(MadeWithMore, BY_ID["scaled_dot_product"]).notes

    assert "left at its default, so not judged otherwise: flavour" in notes


def test_arguments_that_nothing_was_made_of_are_named() -> None:
    notes = discover(TakesMore, BY_ID["scaled_dot_product"]).notes

    assert notes[-1] == "never handed over, so not judged: chunks"
