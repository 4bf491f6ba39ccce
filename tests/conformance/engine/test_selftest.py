"""The self-test finds mistakes, leaves what is right alone, and says when it fails to."""

from dataclasses import replace
from functools import partial

import pytest

from attncheck.defects import BY_ID, DEFECTS
from attncheck.defects.defect import Defect
from attncheck.defects.plain import mutant_of
from attncheck.engine import trials
from attncheck.engine.correct import TORCHS, Correct, correct_ones, made
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.request import Request
from attncheck.engine.run import chosen, run
from attncheck.engine.score import Trial
from attncheck.engine.selftest import selftest
from attncheck.engine.trials import acquitted, tried
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref import MECHANISMS
from attnref.catalogue import BY_ID as MECHANISM_BY_ID

QUICK = "squeeze_excitation"


def test_one_mistake_of_every_mechanism_is_found() -> None:
    first = {d.mechanism: d for d in reversed(DEFECTS) if d.shows == "always" and not d.needs}

    for defect in first.values():
        assert tried(defect, "quick", seed=0).killed_by, defect.id


def some_of_every_family() -> list[Defect]:
    """A mistake of each family, of mechanisms that are quick to judge."""
    quick = [d for d in DEFECTS if d.mechanism in (QUICK, "kernel_regression", "scaled_dot_product")]
    return list({d.family: d for d in quick if not d.needs}.values())


@pytest.mark.parametrize("defect", some_of_every_family(), ids=lambda d: d.id)
def test_what_the_self_test_kills_a_run_kills_by_the_same_check(defect: Defect) -> None:
    """A run puts the cases of a check in their own order, all of them, to a target that others met before."""
    ((name, _),) = tried(defect, "default", seed=0).killed_by
    subject = Subject(
        MECHANISM_BY_ID[defect.mechanism], Reference(MECHANISM_BY_ID[defect.mechanism]).interface
    )
    executor = InProcess(mutant_of(defect.mechanism, defect))  # type: ignore[arg-type]  # one defect has a mutant

    found = set()
    for check in chosen(Request("")):
        verdict = judge(check, subject, cases(check, subject, "default", 0), executor, Known())
        found |= {check.id} if verdict.outcome == "failed" else set()
        if check.id == name:
            break

    assert name in found


def test_the_cases_of_a_trial_are_those_of_a_run() -> None:
    plan = trials.planned(Subject(MECHANISMS[0], Reference(MECHANISMS[0]).interface), "default", 3)
    defect = next(d for d in DEFECTS if d.mechanism == MECHANISMS[0].id)

    put: dict[str, list[object]] = {}
    for check, some in trials._in_turns(plan, defect):
        put.setdefault(check.id, []).extend(some)

    for check, own in plan.checks:
        assert own == cases(check, plan.subject, "default", 3)
        assert sorted(map(str, put.get(check.id, []))) == sorted(map(str, own)), check.id


def test_a_mistake_that_changes_nothing_survives() -> None:
    harmless = replace(BY_ID["kernel_regression.width_ignored"], steps={})

    trial = tried(harmless, "quick", seed=0)

    assert trial.killed_by == ()
    assert trial.cases > 50


def test_a_deviation_counts_only_for_a_mistake_that_says_so() -> None:
    rounded = BY_ID["cross.softmax_in_float32"]

    assert rounded.needs == "--strict"
    assert tried(rounded, "default", seed=0).killed_by
    assert not tried(replace(rounded, needs=""), "quick", seed=0).killed_by


@pytest.mark.parametrize("defect", [d for d in DEFECTS if d.needs.startswith("--expect")], ids=lambda d: d.id)
def test_a_mistake_that_is_a_convention_is_right_until_another_is_expected(defect: Defect) -> None:
    name, _, option = defect.needs.removeprefix("--expect ").partition("=")
    target = made(defect.mechanism, defect).target
    asked = partial(
        Request, target, defect.mechanism, isolate=False, explain=False, budget="quick", seed=0,
        checks=("matches_the_reference",),
    )  # fmt: skip

    assert run(asked()).failed == ()
    assert [v.check for v in run(asked(expect={name: option})).failed] == [f"expects_{name}"]
    assert tried(defect, "quick", seed=0).killed_by == ((f"expects_{name}", "law"),)


def test_exhaustive_trials_name_every_check_that_finds_the_mistake() -> None:
    missing = BY_ID["squeeze_excitation.sigmoid_missing"]
    ((first, _),) = tried(missing, "quick", seed=0).killed_by

    every = [check for check, _ in tried(missing, "quick", seed=0, exhaustive=True).killed_by]

    assert first in every
    assert "matches_the_reference" in every
    assert len(every) == len(set(every)) > 2


def test_a_trial_tells_which_checks_asked_the_reference() -> None:
    trial = tried(BY_ID["squeeze_excitation.sigmoid_missing"], "quick", seed=0, exhaustive=True)

    assert dict(trial.put)["matches_the_reference"]
    assert not dict(trial.put)["samples_do_not_mix"]


def test_a_wrong_one_that_is_called_right_is_accused() -> None:
    wrong = BY_ID["squeeze_excitation.sigmoid_missing"]
    made = mutant_of(wrong.mechanism, wrong)
    assert made is not None

    judged = acquitted(Correct("wrong", wrong.mechanism, lambda: made), "quick", seed=0)

    assert "matches_the_reference" in {a.check for a in judged.accusations}


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_reference_is_not_accused_in_either_number_of_processes(jobs: int) -> None:
    score = selftest("quick", (0,), (QUICK,), jobs)

    assert score.accusations == ()
    assert {item.name for item in score.right} == {QUICK, f"{QUICK} in plain torch"}
    assert {t.defect for t in score.trials} == {d.id for d in DEFECTS if d.mechanism == QUICK}


def test_torchs_own_are_among_what_is_right() -> None:
    assert len(TORCHS) == 8
    assert all(item in correct_ones() for item in TORCHS)


def test_every_mechanism_has_two_right_ones() -> None:
    for mechanism in MECHANISMS:
        assert len([item for item in correct_ones() if item.mechanism == mechanism.id]) >= 2


# Every second one; the rest, at the default budget, is what `make selftest` is for.
@pytest.mark.parametrize("item", TORCHS[::2], ids=lambda item: item.name)
def test_torchs_own_are_right_in_every_dtype(item: Correct) -> None:
    judged = acquitted(item, "quick", seed=0)

    assert judged.accusations == ()
    assert Subject(MECHANISM_BY_ID[item.mechanism], item.adapter().interface).dtypes == (
        "float64", "float32", "bfloat16", "float16",
    )  # fmt: skip


def test_a_check_that_breaks_makes_the_score_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise KeyError("a check that breaks")

    monkeypatch.setattr(trials, "judge", broken)

    trial = tried(BY_ID["squeeze_excitation.sigmoid_missing"], "quick", seed=0)

    assert isinstance(trial, Trial)
    assert "output_has_the_right_shape" in trial.broke
    assert trial.killed_by == ()
