"""Cases, findings, verdicts and reports survive being written, and say what they should."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.model.report import Header, Report, ReportError, parse
from attncheck.model.verdict import FAMILIES, OUTCOMES, Verdict

TEXT = st.text(max_size=9)
NAMES = st.sampled_from(["batch", "heads", "q_len", "kv_len", "model_dim"])
SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT, st.none()
)
CASES = st.builds(
    Case,
    sizes=st.dictionaries(NAMES, st.integers(0, 99), max_size=4),
    options=st.dictionaries(TEXT, SCALARS, max_size=3),
    masking=TEXT, dtype=TEXT, device=TEXT, seed=st.integers(0),
)  # fmt: skip
FINDINGS = st.builds(
    Finding,
    check=TEXT, claim=TEXT, expected=TEXT, actual=TEXT, case=CASES,
    gap=st.floats(0, allow_nan=False), kind=TEXT, sizes=st.none() | TEXT, defect=st.none() | TEXT,
    advice=st.none() | TEXT, script=st.none() | TEXT,
)  # fmt: skip
VERDICTS = st.builds(
    Verdict,
    check=TEXT, family=st.sampled_from(FAMILIES), outcome=st.sampled_from(OUTCOMES),
    cases=st.integers(0, 99), planned=st.integers(0, 99), reason=TEXT,
    findings=st.lists(FINDINGS, max_size=2).map(tuple),
    # Seconds are written with four digits.
    seconds=st.integers(0, 9999).map(lambda n: round(n / 1000, 4)),
)  # fmt: skip
HEADERS = st.builds(
    Header,
    target=TEXT, mechanism=TEXT, adapter=st.lists(TEXT, max_size=2).map(tuple), seed=st.integers(0),
    dtypes=st.lists(TEXT, max_size=2).map(tuple), versions=st.dictionaries(TEXT, TEXT, max_size=2),
    invocation=st.dictionaries(TEXT, st.lists(TEXT, max_size=2), max_size=2),
)  # fmt: skip
REPORTS = st.builds(
    Report,
    header=HEADERS,
    conventions=st.dictionaries(NAMES, TEXT, max_size=2),
    verdicts=st.lists(VERDICTS, max_size=3).map(tuple),
    complete=st.booleans(),
)


@given(CASES)
def test_a_case_survives_being_written(case):
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


@given(FINDINGS)
def test_a_finding_survives_being_written(finding):
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


@given(st.lists(REPORTS, max_size=3))
def test_reports_survive_being_written_one_behind_the_other(reports):
    lines = [line for report in reports for line in report.lines()]

    assert parse(lines) == reports


@given(REPORTS)
def test_every_line_is_json_that_other_readers_accept(report):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for line in report.lines():
        json.loads(line, parse_constant=refuse)


@given(REPORTS, st.data())
def test_a_report_that_was_cut_off_is_never_taken_for_a_whole_one(report, data):
    lines = list(report.lines())
    kept = data.draw(st.integers(1, len(lines) - report.complete))

    (read,) = parse(lines[:kept])

    assert not read.complete
    assert not read.conforms


@given(REPORTS)
def test_exit_code_0_means_that_something_was_judged_and_nothing_failed(report):
    outcomes = {v.outcome for v in report.verdicts}
    clean = report.complete and not outcomes & {"failed", "errored"}
    judged = any(v.cases for v in report.verdicts if v.outcome in ("passed", "deviates", "known"))

    assert (report.exit_code == 0) == (clean and judged)


@given(REPORTS)
def test_a_finding_is_exit_code_1_whatever_else_there_is(report):
    assert (report.exit_code == 1) == any(v.outcome == "failed" for v in report.verdicts)


def test_a_check_that_judged_no_case_does_not_make_a_target_conform():
    report = Report(Header("m:A", "cross"), verdicts=(Verdict("a", "law", "passed", cases=0),))

    assert (report.conforms, report.exit_code) == (False, 3)


def test_an_infinite_gap_is_left_out():
    finding = Finding("a", "claim", "a result", "SIGSEGV", Case({}))

    assert "gap" not in finding.to_json()
    assert Finding.from_json(finding.to_json()).gap == math.inf


def test_a_case_prints_what_differs_from_the_usual():
    case = Case({"batch": 2, "heads": 3}, {"causal": True}, "random_mask", "float16", "cuda", 5)

    expected = "batch=2 heads=3 causal=True mask=random_mask dtype=float16 device=cuda seed=5"
    assert str(case) == expected
    assert str(Case({"batch": 2})) == "batch=2 seed=0"


def test_a_case_with_other_sizes_keeps_the_rest():
    case = Case({"batch": 2, "heads": 3}, {"causal": True}, seed=5)

    assert case.with_sizes(batch=7) == Case({"batch": 7, "heads": 3}, {"causal": True}, seed=5)
    assert case.with_options(bias=False).names == {"batch": 2, "heads": 3, "causal": True, "bias": False}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1 is not a line of a report of attncheck"),
        (["[]"], "line 1 is not a line of a report of attncheck"),
        (["", '{"kind": "verdict"}'], "line 2: expected a header first, got 'verdict'"),
        (['{"kind": "header", "schema": 2}'], "line 1: expected schema 1, got 2"),
        (
            ['{"kind": "header", "schema": 1, "target": "a", "mechanism": "b"}', '{"kind": "song"}'],
            "line 2: expected a verdict, conventions or a footer, got 'song'",
        ),
    ],
)
def test_a_line_that_is_not_ours_is_named(lines, message):
    with pytest.raises(ReportError) as error:
        parse(lines)

    assert str(error.value) == message
