"""The self-test finds mistakes, leaves what is right alone, and says when it fails to."""

from dataclasses import replace

from attncheck.defects import BY_ID, DEFECTS
from attncheck.defects.plain import mutant_of
from attncheck.engine.selftest import Correct, Score, Trial, accusations, selftest, tried
from attncheck.report.score import lines, markdown, necessary_checks


def test_one_mistake_of_every_mechanism_is_found() -> None:
    first = {d.mechanism: d for d in reversed(DEFECTS) if d.shows == "always" and not d.needs}

    for defect in first.values():
        assert tried(defect, "quick", seed=0).killed_by, defect.id


def test_a_mistake_that_changes_nothing_survives() -> None:
    harmless = replace(BY_ID["kernel_regression.width_ignored"], steps={})

    trial = tried(harmless, "quick", seed=0)

    assert trial.killed_by == ()
    assert trial.cases > 50


def test_a_deviation_counts_only_for_a_mistake_that_says_so() -> None:
    rounded = BY_ID["squeeze_excitation.gate_in_float32"]

    assert rounded.needs == "--strict"
    assert tried(rounded, "default", seed=0).killed_by
    assert not tried(replace(rounded, needs=""), "quick", seed=0).killed_by


def test_a_wrong_one_that_is_called_right_is_accused() -> None:
    wrong = BY_ID["squeeze_excitation.sigmoid_missing"]
    made = mutant_of(wrong.mechanism, wrong)
    assert made is not None

    found = list(accusations(Correct("wrong", wrong.mechanism, lambda: made), "quick", seed=0))

    assert "matches_the_reference" in {a.check for a in found}


def test_the_reference_is_not_accused_in_either_number_of_processes() -> None:
    for jobs in (1, 2):
        score = selftest("quick", (0,), ("squeeze_excitation",), jobs)

        assert score.accusations == ()
        assert score.acquitted == 1
        assert {t.defect for t in score.trials} == {
            d.id for d in DEFECTS if d.mechanism == "squeeze_excitation"
        }


def a_score() -> Score:
    found = Trial("cross.mask_ignored", 3, (("masked_equals_removed", "law"),), 12, 0.5)
    both = Trial("cross.scale_missing", 3, (("matches_the_reference", "value"), ("linear", "law")), 2, 0.5)
    return Score("default", (3,), (found, both, Trial("cross.mask_inverted", 3, (), 900, 2.0)), seconds=3.0)


def test_a_survivor_makes_the_score_fail_and_is_named_with_its_sentence() -> None:
    said = "\n".join(lines(a_score()))

    assert not a_score().passed
    assert "survives  cross.mask_inverted  seed 3: The mask hides what it should show" in said
    assert "2 of 3 mistakes found" in said


def test_a_check_is_necessary_if_no_other_family_found_what_it_found() -> None:
    assert necessary_checks(a_score()) == {"masked_equals_removed"}


def test_the_table_counts_by_mechanism_and_family() -> None:
    assert "| cross | 2/3 | 305 | 3.0 | 0 | 2 | 1 | 0 | 0 | 0 |" in markdown(a_score())
