"""pytest: one item a check, for targets named by --attncheck and for what `conforms` decorates.

Neither torch nor attnref is imported before a target is collected: pytest of a project that does
not use this plugin must not pay for it.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import pytest

from attncheck.model.errors import NoAdapterError, UsageError

if TYPE_CHECKING:
    from attncheck._api import RunOptions
    from attncheck.checks import Check
    from attncheck.engine.request import Request
    from attncheck.model.report import Report
    from attncheck.model.verdict import Verdict

_MARK = "_attncheck_request"
Target = TypeVar("Target", bound=Callable[..., Any])


def conforms(mechanism: str, **options: Unpack["RunOptions"]) -> Callable[[Target], Target]:
    """Have pytest judge a class, a function, or what a function without arguments returns.

    `options` are the fields of a Request; the seed is 0 unless given. In a test file:

        @attncheck.conforms("multi_head", budget="quick")
        def my_attention():
            return functools.partial(MyAttention, flavour="new")
    """
    from attncheck.engine.request import Request

    options.setdefault("seed", 0)
    request = Request(None, mechanism, **options)

    def mark(target: Target) -> Target:
        setattr(target, _MARK, request)
        return target

    return mark


class DoesNotConformError(Exception):
    """What an item says of its check; shown as it is, without a traceback."""


@dataclass
class Judged:
    """One request that is carried out when the first of its items runs."""

    request: "Request"
    make_target: Callable[[], object] | None = None
    shown: frozenset[str] = frozenset()
    _report: "Report | None" = field(default=None, init=False)
    _trouble: str = field(default="", init=False)
    _told: bool = field(default=False, init=False)

    def verdict(self, check: str) -> "Verdict | None":
        """The verdict of a check. Raises DoesNotConformError, once, for what no item of a check shows."""
        if self._report is None and not self._told:
            self._judge()
        if self._trouble and not self._told:
            self._told = True
            raise DoesNotConformError(self._trouble)
        if self._report is None:
            pytest.skip("not judged: an earlier item of this target says why")
        return next((v for v in self._report.verdicts if v.check == check), None)

    def _judge(self) -> None:
        from attncheck.engine.run import run

        request = self.request
        try:
            if self.make_target is not None:
                request = replace(request, target=self.make_target())
            self._report = run(request)
        except (UsageError, NoAdapterError) as error:
            self._trouble = str(error)
            return
        self._trouble = _trouble_of(self._report, self.shown)


def _trouble_of(report: "Report", shown: frozenset[str]) -> str:
    """What would be lost if every item told of its own check only."""
    from attncheck.report.wording import conclusion, finding_text

    homeless = [v for v in report.verdicts if v.check not in shown and v.outcome in ("failed", "errored")]
    lines = [finding_text(verdict) for verdict in homeless]
    # Skips alone are green for pytest; a run that judged nothing must not be.
    if not report.failed and not report.conforms:
        lines.append(conclusion(report))
    return "\n".join(lines)


class CheckItem(pytest.Item):
    """One check of one target."""

    def __init__(self, *, judged: Judged, **node: Any) -> None:
        super().__init__(**node)
        self.judged = judged

    def runtest(self) -> None:
        from attncheck.report.wording import finding_text

        verdict = self.judged.verdict(self.name)
        if verdict is None:
            pytest.skip("not part of this run")
        match verdict.outcome:
            case "failed":
                raise DoesNotConformError(finding_text(verdict))
            case "errored":
                raise DoesNotConformError(f"{verdict.check} could not be judged: {verdict.reason}")
            case "skipped":
                pytest.skip(verdict.reason)
            case "known":
                pytest.xfail(f"known to fail: {verdict.reason}")
            case "deviates":
                self.add_report_section("call", "attncheck", f"{verdict.check} deviates: {verdict.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, DoesNotConformError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.name


class TargetCollector(pytest.Collector):
    """The checks of one target."""

    def __init__(self, *, judged: Judged, **node: Any) -> None:
        super().__init__(**node)
        self.judged = judged

    def collect(self) -> Iterator[CheckItem]:
        asked = self.judged.request
        ids = [
            check.id
            for check in _planned(asked.mechanism)
            if (not asked.checks or check.id in asked.checks)
            and check.id not in asked.skip
            and (not asked.families or check.family in asked.families)
        ]
        self.judged.shown = frozenset(ids)
        for name in ids:
            yield CheckItem.from_parent(self, name=name, judged=self.judged)


def _planned(mechanism: str | None) -> "list[Check]":
    """Every check, without those that speak of laws that the mechanism, if it is named, does not have."""
    from attncheck.checks import every_check
    from attncheck.checks.check import speaks_of
    from attncheck.shapes.catalogue import BY_ID
    from attncheck.targets.adapter import Reference
    from attncheck.targets.subject import Subject

    if mechanism is None or mechanism not in BY_ID:
        return list(every_check())
    subject = Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface)
    return [check for check in every_check() if speaks_of(check, subject)]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attncheck", "conformance of attention mechanisms")
    group.addoption(
        "--attncheck", action="append", default=[], metavar="TARGET",
        help="judge package.module:Name or file.py:Name, one item a check; without paths, nothing else",
    )  # fmt: skip
    for name, metavar, text in (
        ("mechanism", "ID", "what the target should be (default: told by its name and code)"),
        ("adapter", "FILE.py:NAME", "an adapter written by hand (default: found out)"),
        ("known", "FILE", "findings that are known, with reasons (default: none)"),
    ):
        group.addoption(f"--attncheck-{name}", metavar=metavar, help=text)
    for name in ("init", "expect"):
        group.addoption(
            f"--attncheck-{name}", action="append", default=[], metavar="NAME=VALUE",
            help=f"as attncheck run --{name}",
        )  # fmt: skip
    group.addoption(
        "--attncheck-budget", choices=("quick", "default", "deep"), default="default",
        help="how many cases (default: default)",
    )  # fmt: skip
    group.addoption(
        "--attncheck-seed", type=int, default=0, metavar="N", help="default: 0, so that runs agree"
    )
    group.addoption("--attncheck-strict", action="store_true", help="documented variants fail")


def pytest_configure(config: pytest.Config) -> None:
    for option in ("init", "expect"):
        _pairs(config, option)
    typed = any(str(arg).startswith("--attncheck") for arg in config.invocation_params.args)
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    # Typed alone, the option asks for these targets; in addopts, or beside paths, for these as well.
    if config.getoption("--attncheck") and typed and not named:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    from attncheck.engine.request import Request

    for target in config.getoption("--attncheck"):
        request = Request(
            target,
            config.getoption("--attncheck-mechanism"),
            init=_pairs(config, "init"),
            adapter=config.getoption("--attncheck-adapter"),
            budget=config.getoption("--attncheck-budget"),
            seed=config.getoption("--attncheck-seed"),
            expect=_pairs(config, "expect"),
            strict=config.getoption("--attncheck-strict"),
            known=config.getoption("--attncheck-known"),
        )
        name = f"attncheck[{target}]"
        collector = TargetCollector.from_parent(session, name=name, nodeid=name, judged=Judged(request))
        items.extend(collector.collect())


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> TargetCollector | None:
    # A subclass inherits the attribute, but was not decorated: only the object's own counts.
    request = getattr(obj, "__dict__", {}).get(_MARK)
    if request is None:
        return None
    return TargetCollector.from_parent(collector, name=name, judged=Judged(request, lambda: _made(obj)))


def _made(obj: Any) -> object:
    """What is judged: what a factory returns, and anything else itself."""
    if inspect.isfunction(obj) and not inspect.signature(obj).parameters:
        return obj()
    return obj


def _pairs(config: pytest.Config, option: str) -> dict[str, str]:
    texts: list[str] = config.getoption(f"--attncheck-{option}")
    for text in texts:
        if "=" not in text:
            raise pytest.UsageError(f"--attncheck-{option} {text}: expected NAME=VALUE")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}
