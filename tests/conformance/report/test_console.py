"""The console and its bar: what is told, in which order, and nothing but text in a pipe."""

import io

import pytest
from rich.console import Console as RichConsole

from attncheck.engine.events import (
    CheckFinished,
    CheckStarted,
    ConventionsFound,
    Explaining,
    RunFinished,
    RunStarted,
)
from attncheck.report.console import Console, Terminal
from attncheck.report.progress import ProgressBar


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(report, file=None, **options) -> str:
    file = io.StringIO() if file is None else file
    console = Console(Terminal(file), **options)
    console(RunStarted(report.header, ()))
    console(ConventionsFound(dict(report.conventions)))
    console(RunFinished(report))
    return file.getvalue()


def test_a_person_with_one_mistake_reads_this(make_report, make_passed, make_failed):
    report = make_report(
        make_passed(), make_failed(sizes="kv_len > 1", defect="CA-3"), make_failed("right_values", "value")
    )

    assert told(report).splitlines() == [
        "  target      my_file.py:Broken",
        "  mechanism   cross",
        "  assumed     built as Broken(q, k)",
        "  run         seed 11 · budget default · cpu",
        "  conventions mask polarity: true_ignores",
        "",
        "✗ ignores_key_order: wrong values",
        "  claim       ignores_key_order holds",
        "  expected    a difference of 0",
        "  actual      4.02",
        "  smallest    batch=1 q_len=2 kv_len=3 seed=7",
        "  fails       where kv_len > 1",
        "  mistake     CA-3 (attncheck show CA-3)",
        "  same cause likely",
        "              right_values: right_values holds (4.02)",
        "",
        "✗ laws hold?           1 failed, 1 passed",
        "✗ values right?        1 failed",
        "  coverage    3 checks planned, 3 judged on 7 cases",
        "does not conform: 2 failed, 1 passed · again: attncheck run my_file.py:Broken --mechanism cross "
        "--check ignores_key_order --seed 11",
    ]


def test_the_first_script_is_printed_as_it_can_be_copied(make_report, make_passed, make_failed):
    script = "import torch\n\nfor i in range(2):\n    print(i)\n"
    report = make_report(
        make_failed(), make_failed("right_values", "value", script=script),
        make_failed("never_mutates_inputs", "hygiene", script="another\n"),
    )  # fmt: skip

    lines = told(report).splitlines()

    start = lines.index("  script      run this to see it")
    assert lines[start + 1 : start + 6] == ["", "import torch", "", "for i in range(2):", "    print(i)"]
    assert "another" not in lines


def test_quiet_tells_the_last_line_only(make_report, make_passed):
    lines = told(make_report(make_passed()), quiet=True).splitlines()

    assert [line.split(" · ")[0] for line in lines] == ["my_file.py:Broken conforms: 1 passed"]


def test_claims_are_told_check_by_check(make_report, make_passed):
    text = told(make_report(make_passed()), claims={"follows_query_order": "queries may be permuted"})

    assert "passed    follows_query_order: queries may be permuted, 5 of 5 cases" in text.splitlines()


def test_long_lines_are_not_broken_in_a_pipe(make_report, make_failed):
    advice = "word " * 60

    assert any(line.endswith(advice) for line in told(make_report(make_failed(advice=advice))).splitlines())


def test_long_lines_hang_under_their_label_on_a_terminal(make_report, make_failed, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")

    lines = told(make_report(make_failed(advice="word " * 20)), Tty()).splitlines()

    start = next(i for i, line in enumerate(lines) if line.startswith("  advice"))
    assert lines[start + 1].startswith(" " * 14 + "word")
    assert len(lines[start]) <= 50


def test_a_terminal_is_coloured_and_no_color_is_honoured(make_report, make_failed, monkeypatch):
    report = make_report(make_failed())

    assert "\x1b[" in told(report, Tty())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in told(report, Tty())


def test_escape_sequences_of_a_target_are_not_obeyed(make_report, make_failed):
    assert "\x1b" not in told(make_report(make_failed(advice="\x1b[2J")))


def test_a_reader_who_goes_away_is_an_exception(make_report, make_passed):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        told(make_report(make_passed()), Gone())


def test_a_bar_shows_the_check_on_a_terminal_and_goes_away(make_report, make_passed):
    file = Tty()
    report = make_report(make_passed())
    bar = ProgressBar(RichConsole(file=file, width=80))

    bar(RunStarted(report.header, ("follows_query_order",)))
    bar(CheckStarted("follows_query_order"))
    bar(Explaining("follows_query_order", "shrinking"))
    bar(CheckFinished(report.verdicts[0]))
    bar(RunFinished(report))

    # The cursor comes back, and the last line that the bar stood on is erased.
    assert "follows_query_order" in file.getvalue()
    assert "1/1" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")


def test_a_bar_writes_nothing_to_a_pipe(make_report, make_passed):
    file = io.StringIO()
    report = make_report(make_passed())
    bar = ProgressBar(RichConsole(file=file))

    for event in (RunStarted(report.header, ("a",)), CheckStarted("a"), RunFinished(report)):
        bar(event)

    assert file.getvalue() == ""
