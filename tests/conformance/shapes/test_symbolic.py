"""One symbolic run gives shapes and conditions as texts over axis names, and never raises."""

import math

import torch
from torch import Tensor, nn

from attncheck.shapes import symbolic
from attncheck.shapes.question import Question
from attncheck.shapes.symbolic import run, without_initialisation


def asked(function, dims=("batch", "tokens"), **options) -> Question:
    return Question(lambda _: function, {"x": dims}, dims, **options)


def test_a_shape_is_an_expression_over_axes():
    found = run(asked(lambda x: torch.cat([x, x[:, ::2]], 1)), {"batch": 5, "tokens": 7})

    assert (found.shape, found.crash, found.blind, found.only_here) == (
        ("batch", "tokens + (tokens + 1) // 2"), "", "", "",
    )  # fmt: skip


def test_a_branch_on_a_size_is_a_condition():
    found = run(asked(lambda x: x if x.shape[0] > 3 else x[:1]), {"batch": 5, "tokens": 7})

    assert found.conditions == ("batch > 3",)


def test_two_axes_of_one_size_stay_two_axes():
    found = run(asked(lambda x: x.mT), {"batch": 5, "tokens": 5})

    assert found.shape == ("tokens", "batch")


def test_a_crash_keeps_the_conditions_that_led_to_it():
    def narrow(x: Tensor) -> Tensor:
        if x.shape[1] > 6:
            raise ValueError("too long")
        return x

    found = run(asked(narrow), {"batch": 5, "tokens": 7})

    assert (found.crash, found.conditions) == ("ValueError: too long", ("tokens > 6",))


def test_a_root_of_a_size_does_not_fix_it():
    found = run(asked(lambda x: x / math.sqrt(x.shape[1])), {"batch": 5, "tokens": 7})

    assert not any("== 7" in condition for condition in found.conditions)


def test_a_condition_that_cannot_be_read_counts_for_this_point_only():
    def odd(x: Tensor) -> Tensor:
        return x if x.shape[1] ** 0.3 > 1.5 else x[:, :1]

    found = run(asked(odd), {"batch": 5, "tokens": 7})

    assert found.only_here.startswith("a condition could not be read")


def test_values_that_nobody_knows_blind_the_run():
    found = run(asked(lambda x: x if x.sum() > 0 else x + 1), {"batch": 5, "tokens": 7})

    assert found.blind.startswith("the way it takes depends on values, not on sizes")


def test_another_private_api_of_torch_blinds_the_run(monkeypatch):
    def gone(*_: object) -> None:
        raise AttributeError("ShapeEnv has no attribute 'create_symbol'")

    monkeypatch.setattr(symbolic, "_symbols", gone)

    found = run(asked(lambda x: x), {"batch": 5, "tokens": 7})

    assert "another private ShapeEnv: ShapeEnv has no attribute 'create_symbol'" in found.blind


def test_a_result_that_is_no_tensor_is_a_crash():
    assert run(asked(lambda x: [x]), {"batch": 5, "tokens": 7}).crash == "the result is list, not a tensor"


def test_the_kind_of_an_input_is_its_dtype():
    question = asked(lambda x: x if x.dtype == torch.bool else x[:1], kinds={"x": "bool"})

    assert run(question, {"batch": 5, "tokens": 7}).shape == ("batch", "tokens")


def test_modules_are_made_of_symbols_without_initial_values():
    question = Question(
        lambda sizes: nn.Linear(sizes["channels"], 3 * sizes["channels"]),
        {"input": ("batch", "channels")}, ("batch", "3 * channels"), constructor=("channels",),
    )  # fmt: skip

    assert run(question, {"channels": 5, "batch": 7}).shape == ("batch", "3 * channels")


def test_initialisation_comes_back():
    before = nn.init.zeros_

    with without_initialisation():
        assert nn.init.zeros_(torch.ones(())) == 1

    assert nn.init.zeros_ is before
