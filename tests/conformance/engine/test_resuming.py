"""A self-test that was cut off goes on where it ended, and results of two states are not mixed."""

from pathlib import Path

import pytest

from attncheck.engine import resuming
from attncheck.engine.resuming import opened
from attncheck.engine.score import Accusation, Acquittal, Trial
from attncheck.engine.selftest import selftest
from attncheck.model.errors import UsageError

DONE = (
    (
        Trial(
            "cross.scale_missing",
            3,
            (("matches_the_reference", "value"),),
            5,
            0.25,
            ("a_check",),
            (("b", True),),
        ),
    ),
    (Acquittal("cross", "cross", 3, 7, 0.5, (Accusation("cross", "cross", 3, "a_check", "off by 1"),)),),
)


def test_what_was_written_down_is_read_back(tmp_path: Path) -> None:
    opened(tmp_path / "record", exhaustive=False).add(("cross", 3), DONE)

    again = opened(tmp_path / "record", exhaustive=False)

    assert again.get(("cross", 3)) == DONE
    assert again.get(("cross", 4)) is None


def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "record"
    opened(path, exhaustive=False).add("first", DONE)
    opened(path, exhaustive=False).add("second", DONE)
    path.write_text(path.read_text()[:-20])

    record = opened(path, exhaustive=False)

    assert record.get("first") == DONE
    assert record.get("second") is None


def test_what_follows_a_line_that_was_cut_off_is_read(tmp_path: Path) -> None:
    path = tmp_path / "record"
    opened(path, exhaustive=False).add("first", DONE)
    path.write_text(path.read_text()[:-20])
    opened(path, exhaustive=False).add("second", DONE)

    assert opened(path, exhaustive=False).get("second") == DONE


def test_results_of_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path / "record", exhaustive=False)
    monkeypatch.setattr(resuming, "_digest", lambda: "of another state")

    with pytest.raises(UsageError, match="another state of the suite"):
        opened(tmp_path / "record", exhaustive=False)


def test_results_of_hurried_trials_are_none_of_exhaustive_ones(tmp_path: Path) -> None:
    opened(tmp_path / "record", exhaustive=False)

    with pytest.raises(UsageError):
        opened(tmp_path / "record", exhaustive=True)


def test_what_is_on_record_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def go() -> object:
        record = opened(tmp_path / "record", exhaustive=False)
        score = selftest("quick", (0,), ("kernel_regression",), jobs=1, correct=(), record=record)
        return score.trials

    first = go()
    assert first
    monkeypatch.setattr("attncheck.engine.selftest._perform", lambda job, right: pytest.fail("done again"))

    assert go() == first
