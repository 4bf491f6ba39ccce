"""Two answers are one if they differ by rounding, in the outputs and in all that was wanted beside them."""

import pytest
import torch
from torch import Tensor

from attncheck.diagnosis.answers import is_wrong, same
from attncheck.model.case import Case
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

MECHANISM = BY_ID["scaled_dot_product"]
SUBJECT = Subject(MECHANISM, Reference(MECHANISM).interface)
SIZES = {"batch": 2, "heads": 3, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 11}
ASK = SUBJECT.ask(Case(SIZES), gradients=("q", "k"))
ANSWER = Bench(Reference(MECHANISM)).perform(ASK)


def with_tensor(name: str, tensor: Tensor | None) -> Answer:
    kept = {n: t for n, t in ANSWER.tensors.items() if n != name}
    return Answer(kept if tensor is None else {**kept, name: tensor})


def test_what_the_reference_answers_is_not_wrong() -> None:
    assert not is_wrong(SUBJECT, ASK, ANSWER)


@pytest.mark.parametrize("name", ["out", "grad.q", "grad.k"])
def test_every_tensor_that_was_wanted_counts(name: str) -> None:
    off = with_tensor(name, ANSWER.tensors[name] * (1 + 1e-4))
    rounded = with_tensor(name, ANSWER.tensors[name] * (1 + 1e-9))

    assert not same(SUBJECT, ASK, off, ANSWER)
    assert same(SUBJECT, ASK, rounded, ANSWER)


def test_no_gradient_is_as_good_as_one_of_zeros_and_no_better() -> None:
    none, zeros = with_tensor("grad.k", None), with_tensor("grad.k", ANSWER.tensors["grad.k"] * 0)

    assert same(SUBJECT, ASK, none, zeros)
    assert same(SUBJECT, ASK, zeros, none)
    assert is_wrong(SUBJECT, ASK, none)


def test_a_gradient_of_rounding_beside_one_that_flows_is_zero() -> None:
    # As that of a key's bias is: a sum that cancels, 1e-17 in float64 and 1e-8 of what flows in float32.
    rounding = torch.full_like(ANSWER.tensors["grad.k"], 1e-11)
    zeros = torch.zeros_like(rounding)

    assert same(SUBJECT, ASK, with_tensor("grad.k", rounding), with_tensor("grad.k", zeros))


def test_weights_count_where_they_were_asked_for() -> None:
    wanted = Ask(**{**vars(ASK), "gradients": (), "options": {**ASK.options, "need_weights": True}})
    answer = Bench(Reference(MECHANISM)).perform(wanted)
    turned = Answer({**answer.tensors, "weights": answer.tensors["weights"].mT})
    averaged = Answer({**answer.tensors, "weights": answer.tensors["weights"].mean(1)})

    assert is_wrong(SUBJECT, wanted, turned)
    assert not is_wrong(SUBJECT, wanted, averaged)


def raised(stage: str, message: str) -> Answer:
    return Answer(trouble=Trouble(stage, "RuntimeError", message))


def test_calls_that_raise_are_one_in_whatever_words() -> None:
    assert same(SUBJECT, ASK, raised("forward", "sizes differ"), raised("forward", "cannot be multiplied"))
    assert not same(SUBJECT, ASK, raised("forward", "sizes differ"), ANSWER)
    assert not is_wrong(SUBJECT, ASK, raised("forward", "sizes differ"))


def test_backward_passes_that_raise_are_one_for_the_same_reason_alone() -> None:
    detached = raised("backward", "element 0 of tensors does not require grad and does not have a grad_fn")
    overwritten = raised("backward", "one of the variables needed for gradient computation has been modified")

    assert is_wrong(SUBJECT, ASK, detached)
    assert same(SUBJECT, ASK, detached, detached)
    assert not same(SUBJECT, ASK, detached, overwritten)
