"""Which finding is told first, and which others it probably explains."""

from dataclasses import replace

from attncheck.model.verdict import Verdict
from attncheck.report.causes import causes, most_specific_first


def names(verdicts):
    return [verdict.check for verdict in verdicts]


def test_a_law_comes_before_a_value_a_gradient_and_hygiene(make_report, make_failed, make_passed):
    families = ("hygiene", "mode", "gradient", "value", "shape", "law")
    report = make_report(make_passed(), *(make_failed(f"one_of_{f}", f) for f in families))

    expected = [f"one_of_{f}" for f in ("law", "shape", "value", "gradient", "mode", "hygiene")]
    assert names(most_specific_first(report)) == expected


def test_a_target_that_cannot_run_is_told_first(make_report, make_failed):
    blocked = Verdict("rows_sum_to_one", "law", "errored", reason="blocked by runs")
    report = make_report(make_failed("law_of_order", "law"), make_failed("runs", "shape"), blocked)

    assert names(most_specific_first(report)) == ["runs", "law_of_order"]


def test_a_mistake_with_a_name_comes_first_in_its_family(make_report, make_failed, make_passed):
    report = make_report(make_passed(), make_failed("a"), make_failed("b", defect="CA-3"))

    assert names(most_specific_first(report)) == ["b", "a"]


def test_values_are_probably_wrong_for_the_same_reason_as_a_law(make_report, make_failed, make_passed):
    report = make_report(make_passed(), make_failed("v", "value"), make_failed("l", "law"))

    (cause,) = causes(report)

    assert (cause.first.check, names(cause.same_likely)) == ("l", ["v"])


def test_bad_hygiene_is_a_cause_of_its_own(make_report, make_failed, make_passed):
    report = make_report(make_passed(), make_failed("writes_inputs", "hygiene"), make_failed("l", "law"))

    assert [(c.first.check, c.same_likely) for c in causes(report)] == [("l", ()), ("writes_inputs", ())]


def test_two_named_mistakes_are_two_causes(make_report, make_failed, make_passed):
    report = make_report(
        make_passed(),
        make_failed("a", defect="CA-3"),
        make_failed("b", defect="MH-1"),
        make_failed("c", defect="CA-3"),
    )

    assert [(c.first.check, names(c.same_likely)) for c in causes(report)] == [("a", ["c"]), ("b", [])]


def test_every_failed_verdict_is_told_exactly_once(make_report, make_failed):
    failed = [make_failed(f"{f}_{i}", f) for f in ("law", "value", "hygiene") for i in range(3)]
    report = make_report(*failed, replace(make_failed("bare"), findings=()))

    told = [n for c in causes(report) for n in (c.first.check, *names(c.same_likely))]

    assert sorted(told) == sorted(names(report.failed))


def test_a_report_without_findings_has_no_cause(make_report, make_passed):
    assert causes(make_report(make_passed())) == ()
