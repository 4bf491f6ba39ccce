"""What a run tells while it goes on. Renderers listen; the engine knows none of them."""

from collections.abc import Callable
from dataclasses import dataclass

from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict


@dataclass(frozen=True)
class RunStarted:
    """The target is understood; these checks follow."""

    header: Header
    checks: tuple[str, ...]


@dataclass(frozen=True)
class ConventionsFound:
    """Which option of each convention the target follows."""

    conventions: dict[str, str]


@dataclass(frozen=True)
class CheckStarted:
    """A check begins."""

    check: str


@dataclass(frozen=True)
class CheckFinished:
    """A check has its verdict."""

    verdict: Verdict


@dataclass(frozen=True)
class Explaining:
    """A finding is being shrunk, named or reproduced."""

    check: str
    step: str


@dataclass(frozen=True)
class RunFinished:
    """The whole report."""

    report: Report


Event = RunStarted | ConventionsFound | CheckStarted | CheckFinished | Explaining | RunFinished
Listener = Callable[[Event], None]
