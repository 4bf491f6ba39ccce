"""What a check wanted beside outputs is asked at more sizes; what is a convention is no evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch

from attncheck.diagnosis.evidence import Exchange, drawn, gathered
from attncheck.model.case import Case
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID, MECHANISMS

SIZES = {"batch": 2, "heads": 3, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 11}


def subject_of(mechanism: str) -> Subject:
    return Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface)


@dataclass
class Right:
    """Answers as the reference does, and keeps what it was asked."""

    subject: Subject
    asked: list[Ask] = field(default_factory=list)

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked += asks
        bench = Bench(Reference(self.subject.mechanism))
        return [bench.perform(ask) for ask in asks]


def told(subject: Subject, ask: Ask, change: float = 0.0) -> bool:
    """Whether an exchange counts: of the reference's answer, or of one that is off by a number."""
    (right,) = Right(subject).put([ask])
    answer = Answer({**right.tensors, "out": right.out + change})
    evidence: list[Exchange] = gathered(subject, Right(subject), [(ask, answer)])
    return any(given is answer for _, given in evidence)


def test_gradients_of_inputs_and_parameters_are_asked_for_where_a_check_wanted_some() -> None:
    subject = subject_of("cross")
    plain = subject.ask(Case({**SIZES, "query_size": 13, "key_size": 17}, {"bias": True}))
    without, with_some = Right(subject), Right(subject)

    gathered(subject, without, [(plain, Answer())])
    gathered(subject, with_some, [(replace(plain, gradients=("x",)), Answer())])

    assert {ask.gradients for ask in without.asked} == {()}
    # What failed is asked again as it was, and plain calls with every gradient.
    (wanted,) = {ask.gradients for ask in with_some.asked} - {(), ("x",)}
    assert {"x", "y", "query.weight", "value.bias"} <= set(wanted)


def test_what_failed_is_asked_again_about_other_numbers() -> None:
    subject = subject_of("cross")
    plain = subject.ask(Case({**SIZES, "query_size": 13, "key_size": 17}, {"bias": True}))
    large = plain.edit("x", "scale", None, 1000.0)
    (answer,), asked = Right(subject).put([large]), Right(subject)

    gathered(subject, asked, [(large, answer)])

    again = [ask for ask in asked.asked if ask.inputs["x"].edits == large.inputs["x"].edits]
    assert len(again) == 6
    assert len({ask.inputs["x"].seed for ask in [large, *again]}) == 7
    assert all(ask.parameters == large.parameters for ask in again)


@pytest.mark.parametrize("mechanism", [m.id for m in MECHANISMS])
def test_every_option_is_asked_for_and_no_question_twice(mechanism: str) -> None:
    subject = subject_of(mechanism)
    asked = Right(subject)
    gathered(subject, asked, [])
    seen = {(name, value) for ask in asked.asked for name, value in {**ask.names, **ask.options}.items()}

    options = subject.mechanism.contract.options
    assert {(o.name, value) for o in options for value in o.values} <= seen
    assert len({str(ask) for ask in asked.asked}) == len(asked.asked)


def test_weights_are_asked_for_where_a_check_wanted_them() -> None:
    subject = subject_of("scaled_dot_product")
    ask = subject.ask(Case(SIZES))
    asked = Right(subject)

    gathered(subject, asked, [(replace(ask, options={**ask.options, "need_weights": True}), Answer())])

    # Three plain calls, and six times what failed.
    assert sum(bool(ask.options.get("need_weights")) for ask in asked.asked) == 9


def test_what_a_check_asked_counts_if_it_is_a_plain_call_at_full_precision() -> None:
    subject = subject_of("scaled_dot_product")
    ask = subject.ask(Case(SIZES))

    assert told(subject, ask, change=1.0)
    assert not told(subject, subject.ask(Case(SIZES, dtype="float32")), change=1.0)
    assert not told(subject, replace(ask, scenario="twice"), change=1.0)
    assert not told(subject, replace(ask, train=True), change=1.0)


def test_an_unusual_answer_in_rows_that_see_no_key_is_no_evidence() -> None:
    subject = subject_of("scaled_dot_product")
    dead = subject.ask(Case(SIZES, masking="dead_row_mask"))

    assert told(subject, dead)
    assert not told(subject, dead, change=1.0)
    assert told(subject, subject.ask(Case(SIZES, masking="padding_mask")), change=1.0)


def test_lengths_of_zero_leave_rows_that_see_no_key() -> None:
    subject = subject_of("masked_softmax")
    ask = subject.ask(Case({"batch": 2, "q_len": 5, "kv_len": 7}, masking="padding_mask"))

    assert told(subject, ask, change=1.0)
    assert not told(subject, ask.edit("valid_lens", "zero"), change=1.0)


def test_gradients_follow_the_convention_of_rows_that_a_causal_alignment_leaves_without_a_key() -> None:
    subject = subject_of("scaled_dot_product")
    options = {"causal": True, "alignment": "lower_right"}
    ask = subject.ask(Case({**SIZES, "q_len": 9}, options), gradients=("q",))

    assert told(subject, ask)
    assert not told(subject, ask, change=1.0)
    assert told(subject, replace(ask, gradients=()), change=1.0)


def test_a_question_that_is_none_for_the_reference_is_no_evidence() -> None:
    subject = subject_of("scaled_dot_product")
    ask = subject.ask(Case(SIZES))
    keys = replace(ask.inputs["k"], shape=(2, 3, 8, 4))
    wider = replace(ask, inputs={**ask.inputs, "k": keys})

    evidence = gathered(subject, Right(subject), [(wider, Answer({"out": torch.zeros(1)}))])

    assert all(ask is not wider for ask, _ in evidence)


def test_calls_at_random_are_legal_and_differ() -> None:
    subject = subject_of("multi_head")
    asks = list(drawn(subject, 24))

    assert len({str(sorted(ask.names.items(), key=str)) for ask in asks}) == len(asks) > 12
    assert all(answer.trouble is None for answer in Right(subject).put(asks))
