"""What turns raw verdicts into those that count is strict in both directions."""

from pathlib import Path

import pytest

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.outcomes import certain, expected_conventions, read_known, with_known
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


def known_file(folder: Path, check: str, target: str = "a.py:A") -> str:
    path = folder / "known.toml"
    path.write_text(f'[[known]]\ncheck = "{check}"\ntarget = "{target}"\nreason = "upstream"\n')
    return str(path)


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


def test_a_known_failure_becomes_known_with_its_reason(tmp_path: Path) -> None:
    request = Request("a.py:A", known=known_file(tmp_path, "matches_the_reference"))

    (verdict,) = with_known(request, [FAILED])

    assert (verdict.outcome, verdict.reason) == ("known", "upstream")


def test_a_known_failure_that_passes_is_a_failure(tmp_path: Path) -> None:
    request = Request("a.py:A", known=known_file(tmp_path, "ignores_key_order"))

    (verdict,) = with_known(request, [Verdict("ignores_key_order", "law", "passed", 3, 3)])

    assert verdict.outcome == "failed"
    assert verdict.findings[0].kind == "stale entry"


def test_an_entry_of_another_target_changes_nothing(tmp_path: Path) -> None:
    request = Request("a.py:A", known=known_file(tmp_path, "matches_the_reference", "b.py:B"))

    assert with_known(request, [FAILED]) == [FAILED]


def test_an_entry_without_a_reason_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text('[[known]]\ncheck = "a"\ntarget = "b"\n')

    with pytest.raises(UsageError, match="an entry lacks reason"):
        read_known(str(path))
