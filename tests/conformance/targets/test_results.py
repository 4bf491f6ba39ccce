"""What a call returns may be a tensor, a tuple, a dictionary or an object with fields; functions may be compiled."""

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.targets.adapter import first_tensor, parts_of
from attncheck.targets.discover import discover
from attncheck.targets.parameters import parameters_of
from attnref.catalogue import BY_ID


@dataclass(frozen=True, slots=True)
class Answer:
    context: Tensor
    weights: Tensor | None = None


@pytest.mark.parametrize(
    ("result", "places"),
    [
        ((1, 2), {"0": 1, "1": 2}),
        ({"out": 3}, {"out": 3}),
        (SimpleNamespace(out=4, _hidden=5), {"out": 4}),
        (None, {}),
        (7, {}),
    ],
)
def test_a_result_is_taken_apart_by_number_by_key_or_by_field(result: object, places: dict[str, int]) -> None:
    assert parts_of(result) == places


def test_the_first_tensor_of_fields_is_found_however_deep_it_lies() -> None:
    tensor = torch.ones(2)

    assert first_tensor((None, {"answer": Answer(tensor)})) is tensor
    assert first_tensor(SimpleNamespace(count=3)) is None


class WithFields(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, return_attn: bool = False) -> Answer:
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        return Answer(weights @ value, weights if return_attn else None)


def test_an_output_and_its_weights_are_found_among_fields() -> None:
    found = discover(WithFields, BY_ID["dot_product"])

    assert (found.certainty, found.result, found.weights) == ("verified", "context", "weights")
    assert run(WithFields, mechanism="dot_product", isolate=False, seed=1, budget="quick").conforms


def scored(queries: Tensor, keys: Tensor, values: Tensor, need_weights: bool = False) -> Tensor:
    scores = torch.matmul(queries, keys.transpose(1, 2)) / float(queries.shape[-1]) ** 0.5
    return torch.matmul(torch.softmax(scores, dim=-1), values)


with warnings.catch_warnings():
    # Later versions of torch advise against it; what was published goes on using it.
    warnings.simplefilter("ignore", DeprecationWarning)
    compiled = torch.jit.script(scored)


def test_what_a_compiled_function_takes_is_read_off_its_schema() -> None:
    taken = {p.name: p.default for p in parameters_of(compiled)}

    assert list(taken) == ["queries", "keys", "values", "need_weights"]
    assert taken["need_weights"] is False


def test_a_compiled_function_is_judged_under_its_own_name() -> None:
    found = discover(compiled, BY_ID["dot_product"])

    assert (found.certainty, found.qualname) == ("verified", "scored")
    assert run(compiled, mechanism="dot_product", isolate=False, seed=1, budget="quick").conforms


@dataclass
class Settings:
    causal: bool = False
    dropout: float = 0.0


class ReadsItInTraining(nn.Module):
    def __init__(self, config: Settings = Settings()) -> None:  # noqa: B008  # as published
        super().__init__()
        self.config = config

    def forward(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
        rate = self.config.dropout if self.training else 0.0
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, None, rate, self.config.causal)


def test_a_field_that_training_alone_reads_is_there_in_training() -> None:
    checks = ("trains_like_the_reference", "matches_the_reference")

    report = run(f"{__file__}:ReadsItInTraining", mechanism="scaled_dot_product", seed=1, checks=checks)

    assert report.conforms
