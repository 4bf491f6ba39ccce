"""A run from a request to a report: seeds repeat it, replay finds it again, three losses end it early."""

from pathlib import Path

import pytest

from attncheck.engine import explaining
from attncheck.engine.events import Event, Explaining, RunFinished, RunStarted
from attncheck.engine.request import Request
from attncheck.engine.run import chosen, replay, run
from attncheck.model.errors import UsageError
from attncheck.model.report import Report

WRONG = """
def attend(q, k, v):
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-2) @ v
"""
DYING = """
import os
def attend(q, k, v):
    if q.shape[0] == 2 and q.shape[2] > 7:
        os._exit(3)
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
"""
LAW = ("queries_do_not_mix",)


def request(folder: Path, source: str = WRONG, **fields: object) -> Request:
    path = folder / "judged.py"
    path.write_text(source)
    asked = {"mechanism": "scaled_dot_product", "budget": "quick", "seed": 4, "checks": LAW, **fields}
    return Request(f"{path}:attend", **asked)  # type: ignore[arg-type]  # fields of a request


def outcomes(report: Report) -> dict[str, tuple[str, int]]:
    return {v.check: (v.outcome, v.cases) for v in report.verdicts}


def test_a_seed_repeats_verdicts_and_findings(tmp_path: Path) -> None:
    first, second = (run(request(tmp_path, explain=False)) for _ in range(2))

    assert outcomes(first) == outcomes(second)
    assert [v.findings for v in first.failed] == [v.findings for v in second.failed]


def test_a_failure_comes_with_a_script_and_replay_finds_it_again(tmp_path: Path) -> None:
    events: list[Event] = []

    report = run(request(tmp_path), [events.append])

    (verdict,) = report.failed
    assert verdict.check == "queries_do_not_mix"
    assert "from judged import attend" in (verdict.findings[0].script or "")
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert any(isinstance(event, Explaining) for event in events)
    again = replay(report)
    assert [v.check for v in again.failed] == ["queries_do_not_mix"]
    assert again.failed[0].findings[0].case == verdict.findings[0].case


def test_a_replay_of_a_corrected_file_finds_nothing(tmp_path: Path) -> None:
    report = run(request(tmp_path, explain=False))
    request(tmp_path, WRONG.replace("softmax(-2)", "softmax(-1)"))

    assert replay(report).failed == ()


def test_an_expectation_that_is_not_met_fails_the_run(tmp_path: Path) -> None:
    asked = request(tmp_path, WRONG.replace("softmax(-2)", "softmax(-1)"), expect={"empty_axes": "raises"})

    report = run(asked)

    assert [v.check for v in report.failed] == ["expects_empty_axes"]
    assert report.exit_code == 1


def test_a_process_that_dies_costs_its_own_cases_and_is_a_finding(tmp_path: Path) -> None:
    report = run(request(tmp_path, DYING, explain=False))

    (finding,) = next(v for v in report.failed if v.check == "runs_at_every_legal_size").findings
    assert finding.case.sizes["q_len"] > 7
    assert "forward" in finding.actual


def test_an_unknown_check_is_a_usage_error_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'queries_do_not_mix'"):
        chosen(Request("a.py:A", checks=("queries_do_not_mic",)))


def test_basic_checks_run_whatever_is_asked_for() -> None:
    assert "runs_at_every_legal_size" in [c.id for c in chosen(Request("a.py:A", checks=LAW))]


def test_a_skipped_check_does_not_run() -> None:
    assert LAW[0] not in [c.id for c in chosen(Request("a.py:A", skip=LAW))]


def test_a_script_that_cannot_be_written_costs_only_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> str:
        raise IndexError("no words")

    monkeypatch.setattr(explaining, "reproducer", failing)

    (verdict,) = run(request(tmp_path)).failed

    assert verdict.check == "queries_do_not_mix"
    assert verdict.findings[0].script is None
