"""A decoder's attention, which has one query a sample, is called as it wants to be; so is one that gives weights alone."""

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.notes import notes_of
from attnref.catalogue import BY_ID


class Step(nn.Module):
    """Additive attention of a decoder's state over the encoder's outputs, length first."""

    axis = 0

    def __init__(self, query_size: int, key_size: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.key = nn.Linear(key_size, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        scores = self.score(torch.tanh(self.query(query) + self.key(keys))).squeeze(-1)
        if mask is not None:
            scores = scores.masked_fill(~mask.T, -torch.inf)
        return torch.softmax(scores, self.axis)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = self.weights(query, keys, mask)
        return torch.einsum("nb,nbc->bc", weights, values)


class OverSamples(Step):
    axis = 1


class OfAState(Step):
    """It is asked by the state of a recurrent layer, which has an axis of layers first, and answers like one."""

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        if query.shape[0] != 1:
            raise ValueError("expected the state of one layer")
        return super().forward(query[0], keys, values, mask)[None]


class WeightsAlone(Step):
    """What scores keys alone: its caller weighs the values."""

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.weights(query, keys, mask).T


class WeightsOfQueries(nn.Module):
    """Weights alone of several queries, which are the dot products' softmax."""

    root = True

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        logits = queries @ keys.mT
        return torch.softmax(logits / keys.shape[-1] ** (0.5 if self.root else 1.0), -1)


class WeightsTooEven(WeightsOfQueries):
    root = False


@pytest.mark.parametrize(
    ("target", "order"),
    [(Step, "one query, no axis"), (OfAState, "one query, its axis first")],
)
def test_one_query_a_sample_conforms(target: type, order: str) -> None:
    found = discover(target, BY_ID["additive"])

    assert (found.certainty, found.result_layout, found.derived["q_len"]) == ("verified", order, "1")
    assert any("keys with length first" in note for note in notes_of(found))
    assert run(target, mechanism="additive", budget="quick", isolate=False, seed=1).conforms


@pytest.mark.parametrize(
    ("target", "mechanism"), [(WeightsAlone, "additive"), (WeightsOfQueries, "dot_product")]
)
def test_weights_alone_are_judged_with_values_of_ours(target: type, mechanism: str) -> None:
    found = discover(target, BY_ID[mechanism])

    assert found.certainty == "verified"
    assert "weights alone come back: they times the values are judged" in notes_of(found)
    assert run(target, mechanism=mechanism, budget="quick", isolate=False, seed=1).conforms


@pytest.mark.parametrize(
    ("target", "mechanism"), [(OverSamples, "additive"), (WeightsTooEven, "dot_product")]
)
def test_mistakes_of_one_query_or_weights_alone_are_found(target: type, mechanism: str) -> None:
    assert not run(target, mechanism=mechanism, budget="quick", isolate=False, seed=1).conforms
