"""One check against one subject: what no case was judged for cannot pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from attncheck.checks.check import Mismatch, NotJudged, Trial, check
from attncheck.engine.judging import Known, judge
from attncheck.model.case import Case
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.legal import rules_of
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

SUBJECT = Subject(BY_ID["scaled_dot_product"], Reference(BY_ID["scaled_dot_product"]).interface)
SIZES = {"batch": 2, "heads": 3, "q_len": 5, "kv_len": 7, "head_dim": 11, "v_dim": 13}
CASES = [Case(SIZES, {"causal": False, "alignment": "upper_left"}, seed=seed) for seed in range(20)]


@dataclass
class Scripted:
    """An executor whose every answer is the same trouble, or nothing at all."""

    trouble: Trouble | None = None
    asked: list[Ask] = field(default_factory=list)

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked += asks
        return [Answer(trouble=self.trouble) for _ in asks]

    def close(self) -> None:
        """Nothing to let go of."""


@check("law", "says nothing of any case")
def says_nothing(subject: Subject, case: Case) -> Trial:
    """Never judges."""
    yield [subject.ask(case)]
    return NotJudged("too small")


@check("law", "fails from the third case on")
def fails_late(subject: Subject, case: Case) -> Trial:
    """Judges by the seed."""
    yield [subject.ask(case)]
    return Mismatch("less", "more") if case.seed >= 2 else None


@check("law", "has a mistake of its own")
def stumbles(subject: Subject, case: Case) -> Trial:
    """Raises over an answer that it did not count on."""
    (answer,) = yield [subject.ask(case)]
    raise IndexError(f"no dimension of {answer}")


def test_a_check_that_judged_nothing_does_not_pass() -> None:
    verdict = judge(says_nothing, SUBJECT, CASES, Scripted(), Known())

    assert (verdict.outcome, verdict.cases) == ("skipped", 0)
    assert verdict.reason == "no case could be judged: too small"


def test_a_check_without_cases_does_not_pass() -> None:
    assert judge(says_nothing, SUBJECT, [], Scripted(), Known()).outcome == "skipped"


def test_a_check_that_stumbles_over_every_answer_is_errored() -> None:
    verdict = judge(stumbles, SUBJECT, CASES, Scripted(), Known())

    assert (verdict.outcome, verdict.cases) == ("errored", 0)


def test_the_first_failing_case_in_order_is_the_finding() -> None:
    verdict = judge(fails_late, SUBJECT, CASES, Scripted(), Known())

    assert verdict.outcome == "failed"
    assert verdict.findings[0].case == CASES[2]


def test_an_exception_of_the_target_is_a_finding_with_its_stage() -> None:
    raising = Scripted(Trouble("forward", "RuntimeError", "sizes differ"))

    verdict = judge(fails_late, SUBJECT, CASES, raising, Known())

    assert verdict.outcome == "failed"
    assert verdict.findings[0].actual == "RuntimeError: sizes differ (in the forward)"
    assert verdict.findings[0].kind == "raises RuntimeError"


def test_trouble_that_a_basic_check_reported_is_not_reported_again() -> None:
    raising = Scripted(Trouble("forward", "RuntimeError", "sizes differ"))

    verdict = judge(fails_late, SUBJECT, CASES, raising, Known({("forward", "RuntimeError")}))

    assert (verdict.outcome, verdict.findings) == ("errored", ())


def test_what_raises_at_sizes_that_were_guessed_at_is_no_finding_without_weights_that_show_them() -> None:
    unmatched = Subject(SUBJECT.mechanism, replace(SUBJECT.interface, loads=False))
    raising = Scripted(Trouble("forward", "RuntimeError", "sizes differ"))
    seen = replace(CASES[0], sizes=rules_of(unmatched, dict(CASES[0].options)).planned({}))

    elsewhere = judge(fails_late, unmatched, CASES, raising, Known())
    where_it_ran = judge(fails_late, unmatched, [seen], raising, Known())

    assert (elsewhere.outcome, elsewhere.findings) == ("errored", ())
    assert where_it_ran.outcome == "failed"


def test_a_refusal_of_the_constructor_is_no_finding_of_a_law() -> None:
    refusing = Scripted(Trouble("constructor", "ValueError", "heads must divide"))

    verdict = judge(fails_late, SUBJECT, CASES, refusing, Known())

    assert (verdict.outcome, verdict.findings) == ("skipped", ())
    assert "heads must divide" in verdict.reason


def test_what_depends_on_a_broken_basic_is_blocked_unasked() -> None:
    executor = Scripted()

    verdict = judge(fails_late, SUBJECT, CASES, executor, Known(blocked_by="runs_at_every_legal_size"))

    assert (verdict.outcome, verdict.reason) == ("errored", "blocked by runs_at_every_legal_size")
    assert executor.asked == []
