"""JUnit XML and Markdown."""

from junitparser import Error, Failure, JUnitXml, Skipped

from attncheck.model.verdict import Verdict
from attncheck.report.junit import write
from attncheck.report.markdown import markdown


def suite_of(path, *reports):
    write(reports, str(path))
    return next(iter(JUnitXml.fromfile(str(path))))


def test_junit_has_a_case_a_check_with_its_outcome(tmp_path, make_report, make_passed, make_failed):
    suite = suite_of(
        tmp_path / "r.xml",
        make_report(
            make_passed("a"),
            make_failed("b"),
            Verdict("c", "law", "skipped", reason="takes no mask"),
            Verdict("d", "law", "errored", reason="blocked by b"),
            Verdict("e", "law", "known", reason="torch#12"),
            Verdict("f", "law", "deviates", reason="scaled"),
        ),
    )

    outcomes = {case.name: [(type(r), r.message) for r in case.result] for case in suite}
    assert outcomes == {
        "a": [],
        "b": [(Failure, "b: b holds (4.02)")],
        "c": [(Skipped, "takes no mask")],
        "d": [(Error, "blocked by b")],
        "e": [(Skipped, "known to fail: torch#12")],
        "f": [],
    }
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (6, 1, 1, 2)


def test_junit_has_the_conditions_of_the_run(tmp_path, make_report, make_passed):
    suite = suite_of(tmp_path / "r.xml", make_report(make_passed()))

    properties = {p.name: p.value for p in suite.properties()}
    assert properties["seed"] == "11"
    assert properties["convention mask_polarity"] == "true_ignores"


def test_junit_survives_control_characters_of_a_target(tmp_path, make_report, make_failed):
    suite = suite_of(tmp_path / "r.xml", make_report(make_failed(advice="\x00\x1b[31m<&>")))

    (case,) = suite
    assert "\\x00\\x1b[31m<&>" in case.result[0].text


def test_junit_of_a_run_that_was_cut_off_has_an_error(tmp_path, make_report, make_passed):
    suite = suite_of(tmp_path / "r.xml", make_report(make_passed(), complete=False))

    assert [case.result[0].message for case in suite if case.name == "whole_run"] == [
        "the run was cut off: the report has no footer"
    ]


def test_markdown_tells_the_finding_first(make_report, make_passed, make_failed):
    report = make_report(make_passed(), make_failed(script="assert False"), make_failed("right", "value"))

    lines = markdown([report]).splitlines()

    assert lines[0] == "## `my_file.py:Broken` does not conform"
    assert lines[4] == "### ignores_key_order"
    assert "assert False" in lines
    assert "- right: right holds (4.02)" in lines
    assert "| laws hold? | **no** | 1 failed, 1 passed |" in lines
    assert "- mask\\_polarity: true\\_ignores" in lines


def test_markdown_of_a_target_cannot_break_out_of_its_block(make_report, make_failed):
    text = markdown([make_report(make_failed(advice="```\n<script>"))])

    opening = next(line for line in text.splitlines() if line.endswith("text"))
    assert opening == "````text"


def test_markdown_escapes_the_words_of_a_target(make_report, make_passed):
    report = make_report(make_passed(), Verdict("a", "law", "skipped", reason="<b>|*x*"))

    assert "&lt;b>\\|\\*x\\*" in markdown([report])
