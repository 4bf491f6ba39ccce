"""Targets that compute with NumPy are judged as others are, gradients and torch's own manners apart."""

from pathlib import Path

import pytest

import attncheck

FILE = Path(__file__).parent / "numpy_targets.py"


def judged(name, mechanism="scaled_dot_product", **options):
    return attncheck.run(f"{FILE}:{name}", mechanism, budget="quick", seed=0, explain=False, **options)


def reasons(report):
    return {v.check: v.reason for v in report.verdicts if v.outcome == "skipped"}


def test_a_right_function_conforms_and_says_how_it_was_reached():
    report = judged("attention")

    assert report.exit_code == 0
    assert report.header.adapter[0] == "it computes with NumPy: its arrays are the tensors' memory"
    assert report.conventions["mask_polarity"] == "true_attends"
    assert report.header.dtypes == ("float64",)


def test_what_numpy_has_not_is_skipped_with_its_reason():
    report = judged("attention", families=("gradient", "hygiene"))

    assert reasons(report)["input_gradients_match"] == "gradients are not asked of a NumPy target"
    assert reasons(report)["survives_its_state_dict"] == (
        "torch's modules, modes and state are not asked of a NumPy target"
    )


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("attention_without_scale", "matches_the_reference"),
        ("attention_over_queries", "one_key_gives_its_value"),
        ("attention_that_writes", "never_mutates_inputs"),
    ],
)
def test_a_wrong_function_does_not_conform(name, check):
    report = judged(name)

    assert report.exit_code == 1
    assert check in {verdict.check for verdict in report.failed}


def test_a_function_for_one_head_of_one_sample_is_called_for_each():
    report = judged("attention_of_one", families=("shape", "value"))

    assert report.exit_code == 0
    assert report.header.adapter[0].endswith("; one head of one sample at a time")


def test_an_object_that_holds_arrays_gets_the_weights_of_the_reference():
    report = judged("MultiHead", "multi_head", families=("shape", "value"))
    passed = {verdict.check for verdict in report.verdicts if verdict.outcome == "passed"}

    assert report.exit_code == 0
    assert "matches_the_reference" in passed
