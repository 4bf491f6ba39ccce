"""Reports made by hand, and an engine that gives them: what the front ends are tested with."""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest

from attncheck.engine.events import (
    CheckFinished,
    CheckStarted,
    ConventionsFound,
    Listener,
    RunFinished,
    RunStarted,
)
from attncheck.engine.request import Request
from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Family, Verdict

CASE = Case({"batch": 1, "q_len": 2, "kv_len": 3}, seed=7)


def passed(check: str = "follows_query_order", family: Family = "law", cases: int = 5) -> Verdict:
    return Verdict(check, family, "passed", cases=cases, planned=cases)


def failed(check: str = "ignores_key_order", family: Family = "law", **facts: str) -> Verdict:
    finding = Finding(check, f"{check} holds", "a difference of 0", "4.02", CASE, gap=4.02).explained(**facts)
    return Verdict(check, family, "failed", cases=1, planned=5, findings=(finding,))


def report_of(*verdicts: Verdict, complete: bool = True, target: str = "my_file.py:Broken") -> Report:
    header = Header(target, "cross", adapter=("built as Broken(q, k)",), seed=11)
    return Report(header, {"mask_polarity": "true_ignores"}, verdicts, complete)


class FakeEngine:
    """Stands in for the engine: keeps requests, tells the events of a report, returns it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.results: list[Report | BaseException] = []

    def run(self, request: Request, listeners: Sequence[Listener] = ()) -> Report:
        self.requests.append(request)
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        events = [RunStarted(result.header, tuple(v.check for v in result.verdicts))]
        events.append(ConventionsFound(dict(result.conventions)))
        for verdict in result.verdicts:
            events += [CheckStarted(verdict.check), CheckFinished(verdict)]
        for event in [*events, RunFinished(result)]:
            for listener in listeners:
                listener(event)
        return result

    def replay(self, report: Report) -> Report:
        return self.run(Request(report.header.target))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine whose results a test lays down beforehand."""
    fake = FakeEngine()
    module = ModuleType("attncheck.engine.run")
    module.run, module.replay = fake.run, fake.replay
    monkeypatch.setitem(sys.modules, "attncheck.engine.run", module)
    return fake


@pytest.fixture
def make_report() -> Callable[..., Report]:
    return report_of


@pytest.fixture
def make_passed() -> Callable[..., Verdict]:
    return passed


@pytest.fixture
def make_failed() -> Callable[..., Verdict]:
    return failed
