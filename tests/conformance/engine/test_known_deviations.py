"""A file of known deviations excuses exactly what it lists, and says why; what is stale in it fails."""

import functools
from pathlib import Path

import pytest

from attncheck.engine.events import CheckFinished, Event
from attncheck.engine.known_deviations import UNSAID, KnownDeviations, read_known, update_known
from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.case import Case
from attncheck.model.errors import UsageError
from attncheck.model.finding import Finding
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict

FINDING = Finding("matches_the_reference", "the output is the reference's", "1", "2", Case({}))
FAILED = Verdict("matches_the_reference", "value", "failed", 1, 3, findings=(FINDING,))
PASSED = Verdict("ignores_key_order", "law", "passed", 3, 3)


def known_file(folder: Path, check: str, target: str = "a.py:A") -> str:
    path = folder / "known.toml"
    path.write_text(f'[[known]]\ncheck = "{check}"\ntarget = "{target}"\nreason = "upstream"\n')
    return str(path)


def a_report(target: str, *verdicts: Verdict) -> Report:
    return Report(Header(target, "cross"), {}, verdicts)


def test_a_known_failure_becomes_known_with_its_reason(tmp_path: Path) -> None:
    listed = KnownDeviations.of(known_file(tmp_path, "matches_the_reference"), "a.py:A")

    verdict = listed.settled(FAILED)

    assert (verdict.outcome, verdict.reason) == ("known", "upstream")
    assert verdict.findings == FAILED.findings
    assert listed.unmet() == []


def test_a_known_failure_that_passes_is_a_failure(tmp_path: Path) -> None:
    listed = KnownDeviations.of(known_file(tmp_path, "ignores_key_order"), "a.py:A")

    verdict = listed.settled(PASSED)

    assert verdict.outcome == "failed"
    assert verdict.findings[0].kind == "stale entry"


def test_an_entry_whose_check_did_not_run_is_a_failure(tmp_path: Path) -> None:
    listed = KnownDeviations.of(known_file(tmp_path, "ignores_key_order"), "a.py:A")

    (stale,) = listed.unmet()

    assert (stale.check, stale.outcome) == ("ignores_key_order", "failed")
    assert "did not run" in stale.findings[0].actual


def test_an_entry_of_another_target_changes_nothing(tmp_path: Path) -> None:
    listed = KnownDeviations.of(known_file(tmp_path, "matches_the_reference", "b.py:B"), "a.py:A")

    assert listed.settled(FAILED) == FAILED
    assert listed.unmet() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[known]]\ncheck = "a"\ntarget = "b"\n', "an entry lacks reason"),
        ("known = 3\n", "expected entries"),
        ("known = [3]\n", "expected entries"),
        ("[[known", "known.toml: "),
        (f'[[known]]\ncheck = "a"\ntarget = "b"\nreason = "{UNSAID}"\n', "a of b still wants its reason"),
    ],
)
def test_a_file_that_does_not_say_what_and_why_is_a_usage_error(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)

    with pytest.raises(UsageError, match=message):
        read_known(str(path))


def test_an_absent_file_is_a_usage_error_that_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--update-known writes one"):
        read_known(str(tmp_path / "absent.toml"))


def test_new_findings_are_written_without_a_reason_which_the_reader_refuses(tmp_path: Path) -> None:
    path = str(tmp_path / "known.toml")

    (entry,) = update_known(path, [a_report("a.py:A", FAILED, PASSED)])

    assert entry == {"check": "matches_the_reference", "target": "a.py:A", "reason": UNSAID}
    with pytest.raises(UsageError, match="still wants its reason"):
        read_known(path)


def test_a_reason_that_was_said_stays_and_what_is_gone_goes(tmp_path: Path) -> None:
    path = known_file(tmp_path, "matches_the_reference")
    gone = '\n[[known]]\ncheck = "ignores_key_order"\ntarget = "a.py:A"\nreason = "once"\n'
    linked = (
        '\n[[known]]\ncheck = "x"\ntarget = "b.py:B"\nreason = "a \\"quoted\\" word"\nlink = "https://é"\n'
    )
    Path(path).write_text(Path(path).read_text() + gone + linked)

    update_known(path, [a_report("a.py:A", FAILED, PASSED)])

    assert sorted(map(str, read_known(path))) == sorted(
        map(
            str,
            [
                {"check": "matches_the_reference", "target": "a.py:A", "reason": "upstream"},
                {"check": "x", "target": "b.py:B", "reason": 'a "quoted" word', "link": "https://é"},
            ],
        )
    )


def test_nothing_found_leaves_a_file_that_excuses_nothing(tmp_path: Path) -> None:
    path = known_file(tmp_path, "matches_the_reference")

    assert update_known(path, [a_report("a.py:A", PASSED)]) == []
    assert read_known(path) == []


def doubled(scores, valid_lens=None):  # type: ignore[no-untyped-def]  # what a person might write
    """A softmax that sums to two."""
    return scores.softmax(-1) * 2


def test_listeners_hear_of_a_known_finding_as_known_when_its_check_ends(tmp_path: Path) -> None:
    """What is written line by line while a run goes on says the same as the whole report."""
    target = functools.partial(doubled)
    asked = functools.partial(
        Request, target, "masked_softmax", isolate=False, explain=False, budget="quick",
        checks=("weights_sum_to_one",),
    )  # fmt: skip
    failed = {verdict.check for verdict in run(asked(seed=0)).failed}
    assert "weights_sum_to_one" in failed
    path = tmp_path / "known.toml"
    path.write_text(
        "".join(
            f'[[known]]\ncheck = "{check}"\ntarget = {str(target)!r}\nreason = "twice"\n' for check in failed
        )
    )
    heard: list[Event] = []

    report = run(asked(known=str(path)), [heard.append])

    told = {e.verdict.check: e.verdict.outcome for e in heard if isinstance(e, CheckFinished)}
    assert told["weights_sum_to_one"] == "known"
    assert told == {v.check: v.outcome for v in report.verdicts if v.check in told}
    assert report.header.seed == 0
