"""A target is judged as what a person says it is, or as what it is found to be."""

import pytest
import torch
from torch import Tensor, nn

from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.targets import opening
from attncheck.targets.found import Found
from attncheck.targets.opening import find, find_for


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v


class CrossWithOutput(nn.Module):
    """More than `cross`: its heads are projected once more."""

    def __init__(self, query_dim: int, context_dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, query_dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        return self.to_out(attend(q, k, v).transpose(1, 2).flatten(2))


def silent(_: object) -> None:
    """Nobody listens to the progress."""


def test_without_a_mechanism_the_one_that_agrees_is_found() -> None:
    found = find_for(attend, "attend", None, {}, silent)

    assert (found.mechanism, found.certainty) == ("scaled_dot_product", "verified")


def test_a_target_that_does_more_than_it_is_offered_as_is_judged_as_the_wider_one() -> None:
    found = find_for(CrossWithOutput, "CrossWithOutput", "cross", {}, silent)

    assert (found.mechanism, found.certainty) == ("multi_head", "verified")
    assert found.notes[0] == "it does more than cross: judged as multi_head"


def guessed(target: object, mechanism: object, **_: object) -> Found:
    return Found(mechanism.id, "Thing", {}, (), certainty="guessed")  # type: ignore[attr-defined]  # a Mechanism


def test_what_is_too_close_to_call_is_a_question_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "discover", guessed)
    both = {"spatial_self": 3.0, "channel_self": 2.75}
    monkeypatch.setattr(opening, "likely_mechanisms", lambda *_: both)

    with pytest.raises(
        UsageError, match="Block could be spatial_self or channel_self; say which with --mech"
    ):
        find_for(CrossWithOutput, "Block", None, {}, silent)


def test_what_agrees_with_nothing_is_taken_for_the_likeliest_and_the_report_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "discover", guessed)
    monkeypatch.setattr(opening, "likely_mechanisms", lambda *_: {"channel_self": 3.0, "spatial_self": 1.0})

    found = find_for(CrossWithOutput, "Block", None, {}, silent)

    assert found.mechanism == "channel_self"
    assert found.notes == ("taken for channel_self by its name and code; --mechanism says otherwise",)


def test_what_agrees_with_a_less_likely_mechanism_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "likely_mechanisms", lambda *_: {"additive": 9.0, "scaled_dot_product": 1.0})

    assert find_for(attend, "attend", None, {}, silent).mechanism == "scaled_dot_product"


def attend_by_lengths(q: Tensor, k: Tensor, v: Tensor, valid_lens: Tensor | None = None) -> Tensor:
    """With any leading axes, as long as there is no mask."""
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if valid_lens is not None:
        hidden = torch.arange(k.shape[1]) >= valid_lens[:, None]
        logits = logits.masked_fill(hidden[:, None], -torch.inf)
    return logits.softmax(-1) @ v


def test_what_agrees_with_two_mechanisms_is_the_one_whose_masks_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    likely = {"scaled_dot_product": 1.0, "dot_product": 1.0}
    monkeypatch.setattr(opening, "likely_mechanisms", lambda *_: likely)

    assert find_for(attend_by_lengths, "attend", None, {}, silent).mechanism == "dot_product"


def refused(target: object, mechanism: object, **_: object) -> Found:
    raise NoAdapterError("nothing worked")


def test_what_fits_nothing_is_told_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "discover", refused)

    with pytest.raises(NoAdapterError, match=r"attend fits no mechanism .*scaled_dot_product.*--mechanism"):
        find_for(attend, "attend", None, {}, silent)


def broken(target: object, mechanism: object, **_: object) -> Found:
    raise KeyError("axis")


def test_a_fault_of_our_own_is_not_put_on_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "discover", broken)

    with pytest.raises(NoAdapterError, match=r"attncheck itself failed while it studied torch.*KeyError"):
        find("torch.nn.functional:scaled_dot_product_attention", "scaled_dot_product", {}, silent)
