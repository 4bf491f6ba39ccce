"""Dropout falls on the weights, in training only, and what it keeps is scaled up."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch.nn import functional

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS

drop = partial(functional.dropout, training=True)


def weights_of(q, k):
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)


def right(q, k, v, rate):
    return drop(weights_of(q, k), rate) @ v


def on_the_logits(q, k, v, rate):
    return torch.softmax(drop(q @ k.mT * q.shape[-1] ** -0.5, rate), dim=-1) @ v


def on_the_output_too(q, k, v, rate):
    return drop(drop(weights_of(q, k), rate) @ v, rate)


def ignored(q, k, v, rate):
    return weights_of(q, k) @ v


def not_scaled_up(q, k, v, rate):
    return (weights_of(q, k) * (torch.rand(k.shape[-2]) >= rate)) @ v


@dataclass(frozen=True)
class Dropping(Reference):
    """Scaled dot product attention with dropout of one kind."""

    function: object = right

    @property
    def interface(self):
        return replace(super().interface, takes=("dropout",), gives=("out",))

    def call(self, built, inputs, options):
        return {"out": self.function(**inputs, rate=options.get("dropout", 0.0))}


def judged(check, function, given=None):
    target = Dropping(MECHANISMS["scaled_dot_product"], function=function)
    subject = Subject(target.mechanism, target.interface)
    planned = cases(CHECKS[check], subject, "quick", 1) if given is None else given
    return judge(CHECKS[check], subject, planned, InProcess(target), Known())


def outcome(check, function):
    return judged(check, function).outcome


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("drops_something_in_training", ignored),
        ("dropout_keeps_the_mean", on_the_logits),
        ("dropout_keeps_the_mean", not_scaled_up),
        ("drops_whole_keys", on_the_output_too),
    ],
)
def test_dropout_elsewhere_or_by_another_rule_is_found_and_the_right_one_is_not(check, wrong):
    assert outcome(check, wrong) == "failed"
    assert outcome(check, right) == "passed"


def test_dropout_in_eval_mode_is_found():
    assert outcome("drops_nothing_in_eval_mode", right) == "failed"
    assert outcome("drops_nothing_in_eval_mode", ignored) == "passed"


def flattened(q, k, v, rate):
    return right(q, k, v, rate).flatten(0, 1)


@pytest.mark.parametrize(
    ("check", "function", "sizes", "reason"),
    [
        ("drops_something_in_training", ignored, {"kv_len": 3}, "so small an output may be left whole"),
        ("drops_something_in_training", ignored, {"v_dim": 3}, "so small an output may be left whole"),
        ("dropout_keeps_the_mean", on_the_logits, {"kv_len": 1}, "a single key hides where dropout stands"),
        ("dropout_keeps_the_mean", flattened, {"heads": 2}, "the output has another shape"),
        ("drops_whole_keys", on_the_output_too, {"v_dim": 1}, "a single feature equals itself"),
    ],
)
def test_sizes_that_tell_nothing_of_dropout_are_left_with_the_reason(case_of, check, function, sizes, reason):
    ample = {"q_len": 4, "kv_len": 4, "head_dim": 4, "v_dim": 4}

    found = judged(check, function, [case_of("scaled_dot_product", **{**ample, **sizes})])

    assert (found.outcome, reason in found.reason) == ("skipped", True)


def test_from_four_numbers_an_axis_on_it_can_be_told_that_nothing_is_dropped(case_of):
    four = case_of("scaled_dot_product", q_len=4, kv_len=4, head_dim=4, v_dim=4)

    assert judged("drops_something_in_training", ignored, [four]).outcome == "failed"


@pytest.mark.parametrize(
    ("check", "function", "sizes"),
    [
        ("dropout_keeps_the_mean", on_the_logits, {"kv_len": 2}),
        ("drops_whole_keys", on_the_output_too, {"v_dim": 2}),
    ],
)
def test_two_keys_and_two_features_are_enough_to_tell(case_of, check, function, sizes):
    given = [case_of("scaled_dot_product", seed=seed, **sizes) for seed in range(3)]

    assert judged(check, function, given).outcome == "failed"
    assert judged(check, right, given).outcome == "passed"


def test_targets_that_dropout_says_nothing_of_are_skipped_with_the_reason(subject_of):
    def reason(check, mechanism, **interface):
        return CHECKS[check].applies(subject_of(mechanism, **{"takes": ("dropout",), **interface}))

    assert reason("drops_something_in_training", "cross", takes=()) == "the target has no dropout"
    assert "function cannot know" in reason("drops_nothing_in_eval_mode", "cross", is_module=False)
    assert "batch norm sees the whole batch" in reason("dropout_keeps_the_mean", "cbam_block")
    assert "mixed after dropout" in reason("drops_whole_keys", "multi_head")
    assert reason("drops_whole_keys", "scaled_dot_product") is None
