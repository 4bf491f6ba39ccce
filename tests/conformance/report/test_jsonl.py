"""Reports as JSON lines, written while the run goes on."""

import io

import pytest

from attncheck.engine.events import CheckFinished, ConventionsFound, RunFinished, RunStarted
from attncheck.model.errors import UsageError
from attncheck.report.jsonl import JsonLines, load


def written(report, *, until: int | None = None) -> str:
    events = [RunStarted(report.header, ()), ConventionsFound(dict(report.conventions))]
    events += [CheckFinished(verdict) for verdict in report.verdicts]
    file = io.StringIO()
    listener = JsonLines(file)
    for event in [*events, RunFinished(report)][:until]:
        listener(event)
    return file.getvalue()


def test_what_was_written_reads_as_the_report(tmp_path, make_report, make_passed, make_failed):
    report = make_report(make_passed(), make_failed(defect="CA-3"))
    path = tmp_path / "r.jsonl"
    path.write_text(written(report))

    assert load(str(path)) == [report]


def test_a_run_that_was_cut_off_reads_as_incomplete(tmp_path, make_report, make_passed, make_failed):
    path = tmp_path / "r.jsonl"
    path.write_text(written(make_report(make_passed(), make_failed()), until=3))

    (read,) = load(str(path))

    assert not read.complete
    assert [v.check for v in read.verdicts] == ["follows_query_order"]


def test_verdicts_and_conventions_that_no_event_told_are_written_at_the_end(
    tmp_path, make_report, make_passed
):
    report = make_report(make_passed("a"), make_passed("b"))
    file = io.StringIO()
    listener = JsonLines(file)
    for event in (RunStarted(report.header, ()), CheckFinished(report.verdicts[0]), RunFinished(report)):
        listener(event)
    path = tmp_path / "r.jsonl"
    path.write_text(file.getvalue())

    assert load(str(path)) == [report]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty; expected a report that --report wrote"),
        ("hello\n", "line 1 is not a line of a report of attncheck"),
        ('{"kind": "footer"}\n', "line 1: expected a header first, got 'footer'"),
        ('{"kind": "header", "schema": 99}\n', "line 1: expected schema 1, got 99"),
    ],
)
def test_a_file_that_is_no_report_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    path.write_text(content)

    with pytest.raises(UsageError) as error:
        load(str(path))

    assert str(error.value) == f"{path}: {message}"


def test_a_binary_file_is_no_report(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UsageError, match=r"it is not text$"):
        load(str(path))
