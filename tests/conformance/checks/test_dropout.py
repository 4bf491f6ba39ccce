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


def outcome(check, function):
    target = Dropping(MECHANISMS["scaled_dot_product"], function=function)
    subject = Subject(target.mechanism, target.interface)
    planned = cases(CHECKS[check], subject, "quick", 1)
    return judge(CHECKS[check], subject, planned, InProcess(target), Known()).outcome


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
