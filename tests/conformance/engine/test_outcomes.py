"""What turns raw verdicts into those that count is strict in both directions."""

import pytest

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.outcomes import certain, expected_conventions
from attncheck.engine.request import Request
from attncheck.model.case import Case
from attncheck.model.errors import UsageError
from attncheck.model.finding import Finding
from attncheck.model.verdict import Verdict
from attncheck.targets.adapter import Interface
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

FINDING = Finding("matches_the_reference", "claim", "this", "that", Case({"batch": 2}))
FAILED = Verdict("matches_the_reference", "value", "failed", 1, 3, findings=(FINDING,))
INPUTS = {"q": ("q",), "k": ("k",), "v": ("v",)}


def subject(certainty: str) -> Subject:
    return Subject(BY_ID["multi_head"], Interface("multi_head", INPUTS, certainty=certainty))


@pytest.mark.parametrize("option", ["true_attends", "true_ignores"])
def test_an_expectation_passes_for_its_own_option_alone(option: str) -> None:
    request = Request("a.py:A", expect={"mask_polarity": "true_ignores"})

    (verdict,) = expected_conventions(request, {"mask_polarity": option})

    assert (verdict.outcome == "passed") == (option == "true_ignores")


def test_an_expectation_of_what_cannot_be_seen_is_skipped_with_a_reason() -> None:
    request = Request("a.py:A", expect={"mask_polarity": "true_ignores"})

    (verdict,) = expected_conventions(request, {})

    assert (verdict.outcome, verdict.reason) == ("skipped", "the target shows no mask_polarity")


def test_an_unknown_option_of_a_convention_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="mask_polarity has no option 'sideways'"):
        expected_conventions(Request("a.py:A", expect={"mask_polarity": "sideways"}), {})


def test_guessed_weights_make_a_wrong_value_errored() -> None:
    verdict = certain(subject("guessed"), CHECKS["matches_the_reference"], FAILED)

    assert verdict.outcome == "errored"
    assert "could only be guessed" in verdict.reason


def test_verified_weights_leave_a_wrong_value_failed() -> None:
    assert certain(subject("verified"), CHECKS["matches_the_reference"], FAILED) == FAILED


def test_guessed_weights_leave_a_law_without_weights_failed() -> None:
    law = Verdict("ignores_key_order", "law", "failed", 1, 3, findings=(FINDING,))

    assert certain(subject("guessed"), CHECKS["ignores_key_order"], law) == law
