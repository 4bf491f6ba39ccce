"""A call that cannot do without a mask gets one that hides nothing, and is judged with masks that do."""

import pytest
import torch
from torch import Tensor, nn

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.targets.discover import discover
from attncheck.targets.rendering import rendered
from attncheck.targets.unmasking import attends
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]


class Added(nn.Module):
    """Numbers are added to the logits, always."""

    def __init__(self, hidden_size: int, num_attention_heads: int) -> None:
        super().__init__()
        self.heads = num_attention_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in layers)
        scores = self.masked(q @ k.mT * q.shape[-1] ** -0.5, attention_mask)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores + mask


class Filled(Added):
    """Padding is true, and gets a finite logit: with every key hidden the output is an average."""

    def masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.masked_fill(mask[:, None, None, :], -1e9)


class Unheeded(Added):
    """A mask must be there, and is not looked at."""

    def masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores + 0 * mask.unsqueeze(1)


@pytest.mark.parametrize(("target", "polarity"), [(Added, "additive"), (Filled, "true ignores")])
def test_a_target_that_needs_a_mask_is_verified_with_the_mask_it_takes(
    target: type[nn.Module], polarity: str
) -> None:
    found = discover(target, MULTI_HEAD)

    assert found.certainty == "verified"
    assert found.mask is not None
    assert found.mask.polarity == polarity


def test_the_written_adapter_hands_a_mask_over_where_none_is_asked_for() -> None:
    text = rendered(discover(Filled, MULTI_HEAD), "package.module:Filled")

    assert "x.new_zeros(x.shape[0], x.shape[1], dtype=torch.bool) if mask is None else ~mask[:, 0, 0]" in text


def test_a_required_mask_that_is_not_looked_at_is_a_finding() -> None:
    report = run(
        Request(
            Unheeded,
            "multi_head",
            checks=("matches_the_reference", "hidden_keys_have_no_influence"),
            budget="quick",
            seed=0,
            isolate=False,
            explain=False,
        )
    )

    assert "failed" in {v.outcome for v in report.verdicts}


def test_an_output_that_is_the_same_for_every_query_attends_to_nothing() -> None:
    out = torch.randn(2, 5, 3, dtype=torch.float64)

    assert attends(out, MULTI_HEAD)
    assert not attends(out[:, :1].expand_as(out), MULTI_HEAD)
    assert not attends(out.index_fill(1, torch.tensor(2), torch.nan), MULTI_HEAD)
