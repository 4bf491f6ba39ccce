"""The words of a report."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.report import Report
from attncheck.model.verdict import Verdict
from attncheck.report.commands import again
from attncheck.report.wording import (
    conclusion,
    coverage_lines,
    family_rows,
    finding_text,
    in_a_line,
    printable,
)


@given(st.text())
def test_no_control_character_of_a_target_reaches_a_terminal(text):
    assert all(c.isprintable() or c == "\n" for c in printable(text))


@given(st.text(alphabet=st.characters(categories=["L", "N", "P"])))
def test_printable_text_stays_as_it_is(text):
    assert printable(text) == text


def test_a_finding_is_told_with_everything_that_is_known(make_failed):
    verdict = make_failed(sizes="kv_len > 1", defect="CA-3", advice="project the values from y")

    assert finding_text(verdict).splitlines() == [
        "ignores_key_order: wrong values",
        "  claim     ignores_key_order holds",
        "  expected  a difference of 0",
        "  actual    4.02",
        "  smallest  batch=1 q_len=2 kv_len=3 seed=7",
        "  fails     where kv_len > 1",
        "  mistake   CA-3 (attncheck show CA-3)",
        "  advice    project the values from y",
    ]


def test_what_is_not_known_of_a_finding_is_not_told(make_failed):
    text = finding_text(make_failed())

    assert "mistake" not in text
    assert "fails" not in text


def test_a_finding_that_always_shows_says_so(make_failed):
    assert "  fails     always" in finding_text(make_failed(sizes="always")).splitlines()


def test_sizes_that_were_asked_under_some_options_alone_say_so(make_failed):
    text = finding_text(make_failed(sizes="kv_len > 1", within="causal=False, scale=None"))

    assert "  fails     where kv_len > 1, with causal=False, scale=None" in text.splitlines()


def test_a_failed_verdict_without_finding_gives_its_reason():
    verdict = Verdict("runs", "shape", "failed", reason="SIGSEGV")

    assert (finding_text(verdict), in_a_line(verdict)) == ("runs: SIGSEGV", "runs: SIGSEGV")


def test_a_line_on_a_finding_has_claim_and_actual(make_failed):
    assert in_a_line(make_failed()) == "ignores_key_order: ignores_key_order holds (4.02)"


def test_families_are_counted_apart_and_only_where_there_are_checks(make_report, make_passed, make_failed):
    report = make_report(make_passed(), make_failed(), make_passed("right", "value"))

    assert family_rows(report) == [("law", False, "1 failed, 1 passed"), ("value", True, "1 passed")]


def test_coverage_says_what_ran_and_why_the_rest_did_not(make_report, make_passed):
    report = make_report(
        make_passed(cases=5),
        Verdict("a", "law", "skipped", reason="takes no mask"),
        Verdict("b", "law", "skipped", reason="takes no mask"),
        Verdict("c", "law", "errored", reason="blocked by runs"),
        Verdict("d", "value", "deviates", cases=2, reason="variant scaled, as in DANet"),
        Verdict("e", "value", "known", cases=1, reason="torch#12"),
    )

    assert coverage_lines(report) == [
        "6 checks planned, 3 judged on 8 cases",
        "1 could not be judged: blocked by runs (c)",
        "2 skipped: takes no mask (a, b)",
        "d deviates: variant scaled, as in DANet",
        "e known to fail: torch#12",
    ]


def test_a_long_list_of_skipped_checks_is_cut(make_report):
    skipped = [Verdict(f"c{i}", "law", "skipped", reason="no mask") for i in range(9)]

    assert (
        coverage_lines(make_report(*skipped))[1] == "9 skipped: no mask (c0, c1, c2, c3, c4, c5 and 3 more)"
    )


def test_checks_of_other_mechanisms_are_one_line(make_report):
    skipped = [Verdict(name, "law", "skipped", reason=f"{name} is no law of cross") for name in ("a", "b")]

    assert coverage_lines(make_report(*skipped))[1:] == ["2 skipped: no law of cross (a, b)"]


def test_the_conclusion_of_a_clean_run_repeats_it(make_report, make_passed):
    expected = "conforms: 1 passed · again: attncheck run my_file.py:Broken --mechanism cross --seed 11"
    assert conclusion(make_report(make_passed())) == expected


def test_the_conclusion_of_findings_replays_the_saved_report(make_report, make_failed):
    expected = "does not conform: 1 failed · again: attncheck replay 'my report.jsonl'"
    assert conclusion(make_report(make_failed()), "my report.jsonl") == expected


def test_the_conclusion_of_findings_repeats_the_first_check_without_a_report(make_report, make_failed):
    assert conclusion(make_report(make_failed())).endswith("--check ignores_key_order --seed 11")


@pytest.mark.parametrize(
    ("verdicts", "complete", "expected"),
    [
        ((), True, "not judged: no check was run"),
        ((Verdict("a", "law", "skipped", reason="no mask"),), True, "not judged: 1 skipped"),
        (
            (Verdict("a", "law", "passed", cases=1), Verdict("b", "law", "errored", reason="crash")),
            True,
            "judged in part: 1 passed, 1 could not be judged",
        ),
        ((Verdict("a", "law", "passed", cases=1),), False, "cut off: 1 passed"),
    ],
)
def test_a_run_that_did_not_judge_everything_says_so(make_report, verdicts, complete, expected):
    assert conclusion(make_report(*verdicts, complete=complete)).startswith(expected + " · again: ")


def test_the_command_repeats_everything_that_was_asked(make_report):
    report: Report = make_report()
    header = replace(
        report.header,
        device="cuda",
        budget="deep",
        invocation={
            "init": {"d_model": "model_dim"},
            "expect": {"layout": "batch_first"},
            "adapter": "a.py:adapter",
            "known": "known.txt",
            "dtypes": ["float32"],
            "strict": True,
        },
    )

    expected = (
        "attncheck run my_file.py:Broken --mechanism cross --init d_model=model_dim "
        "--expect layout=batch_first --adapter a.py:adapter --known known.txt --device cuda "
        "--dtype float32 --budget deep --strict --seed 11"
    )
    assert again(header) == expected
