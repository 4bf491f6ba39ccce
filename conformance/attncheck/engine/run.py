"""One run: open the target, observe its conventions, judge every check, explain what failed."""

import contextlib
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from attncheck.checks import Check, every_check
from attncheck.checks.check import speaks_of
from attncheck.engine.beside import Beside
from attncheck.engine.events import (
    CheckFinished,
    CheckStarted,
    ConventionsFound,
    Event,
    Explaining,
    Listener,
    RunFinished,
    RunStarted,
)
from attncheck.engine.explaining import Scripts, explained
from attncheck.engine.judging import Known, judge
from attncheck.engine.known_deviations import KnownDeviations
from attncheck.engine.lengths import is_large, shortest
from attncheck.engine.observing import observe
from attncheck.engine.opening import Opened, open_target
from attncheck.engine.outcomes import (
    certain,
    expected_conventions,
    import_trouble,
    variant_verdict,
)
from attncheck.engine.plan import cases
from attncheck.engine.ranks import naming_ranks
from attncheck.engine.request import Request
from attncheck.engine.session import TargetTroubleError
from attncheck.engine.shrink import smallest
from attncheck.model.case import Case
from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean
from attncheck.model.report import Header, Report
from attncheck.model.verdict import Verdict


def run(request: Request, listeners: Sequence[Listener] = ()) -> Report:
    """Judge one target. Raises UsageError or NoAdapterError if there is nothing to judge."""
    with _one_thread():
        return _run(request, listeners, chosen(request), {})


def replay(report: Report) -> Report:
    """Run the failed checks of a report again, each on the case that showed the failure."""
    fields = dict(report.header.invocation)
    for name in ("dtypes", "checks", "skip", "families"):
        fields[name] = tuple(fields.get(name, ()))  # type: ignore[arg-type]  # lists in a report
    request = Request(**{**fields, "seed": report.header.seed, "known": None})  # type: ignore[arg-type]  # written by _header
    known = {check.id: check for check in every_check()}
    failed = {v.check: [f.case for f in v.findings] for v in report.failed if v.check in known}
    with _one_thread():
        return _run(request, (), [known[check] for check in failed], failed)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The oracle's tensors are small: threads that wait for each other cost four times what they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen(request: Request) -> list[Check]:
    """The checks that a request asks for. Raises UsageError for an unknown one."""
    known = {check.id: check for check in every_check()}
    for name in (*request.checks, *request.skip):
        if name not in known:
            raise UsageError(
                f"unknown check {name!r}{did_you_mean(name, known)} (attncheck list checks shows all {len(known)})"
            )
    wanted = [c for c in known.values() if not request.checks or c.id in request.checks or c.basic]
    wanted = [c for c in wanted if not request.families or c.family in request.families or c.basic]
    return [c for c in wanted if c.id not in request.skip]


def _run(
    request: Request, listeners: Sequence[Listener], checks: list[Check], again: dict[str, list[Case]]
) -> Report:
    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    listed = KnownDeviations.of(request.known, str(request.target))
    seed = _seed(request)
    try:
        opened = open_target(request)
    except TargetTroubleError as error:
        return _unopened(request, seed, listed.settled(import_trouble(error)), tell)
    try:
        header = _header(request, seed, opened)
        checks = [c for c in checks if speaks_of(c, opened.subject)]
        tell(RunStarted(header, tuple(c.id for c in checks)))
        conventions = observe(opened.subject, opened.executor, seed)
        tell(ConventionsFound(conventions))
        verdicts = [*expected_conventions(request, conventions), *variant_verdict(opened.subject, request)]
        verdicts = [listed.settled(verdict) for verdict in verdicts]
        verdicts += _judge_all(request, seed, opened, checks, again, tell, listed)
        verdicts += listed.unmet()
    finally:
        opened.executor.close()
    report = Report(header, conventions, tuple(verdicts))
    tell(RunFinished(report))
    return report


def _seed(request: Request) -> int:
    """The seed asked for; else one that nobody can guess, or, where findings are listed, always the same."""
    if request.seed is not None:
        return request.seed
    return 0 if request.known else random.SystemRandom().randrange(10**6)


@dataclass
class _Judging:
    """The verdicts of one run so far."""

    request: Request
    opened: Opened
    tell: Listener
    plan: Callable[[Check], Sequence[Case]]
    listed: KnownDeviations
    known: Known = field(default_factory=Known)
    scripts: Scripts = field(default_factory=Scripts)
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def judged(self, check: Check) -> Verdict:
        self.tell(CheckStarted(check.id))
        return judge(check, self.opened.subject, self.plan(check), self.opened.executor, self.known)

    def finish(self, check: Check, verdict: Verdict) -> None:
        verdict = certain(self.opened.subject, check, verdict)
        if verdict.outcome == "failed" and self.request.explain:
            verdict = _explain(check, verdict, self.opened, self.known, self.scripts, self.request, self.tell)
        verdict = self.listed.settled(verdict)
        self.verdicts[check.id] = verdict
        self.tell(CheckFinished(verdict))


def _judge_all(
    request: Request,
    seed: int,
    opened: Opened,
    checks: list[Check],
    again: dict[str, list[Case]],
    tell: Listener,
    listed: KnownDeviations,
) -> list[Verdict]:
    """The verdicts in the order of the checks; basics are judged first, what is slow is waited for last."""

    def plan(check: Check) -> Sequence[Case]:
        return again.get(check.id) or cases(check, opened.subject, request.budget, seed)

    judging = _Judging(request, opened, tell, plan, listed)
    basic = [check for check in checks if check.basic]
    slow = [check for check in checks if check.most and not check.basic]
    unproved: list[tuple[Check, Verdict]] = []
    with Beside(request, opened, judging.known, plan) as beside:
        for check in basic:
            verdict = judging.judged(check)
            _remember(check, verdict, judging.known)
            if check.id == "output_has_the_right_shape" and verdict.outcome == "passed":
                unproved.append((check, verdict))
            else:
                judging.finish(check, verdict)
        beside.begin(slow, prove=bool(unproved))
        for check in checks:
            if check not in basic and check not in slow:
                judging.finish(check, judging.judged(check))
        for check in slow:
            tell(CheckStarted(check.id))
            judging.finish(check, beside.verdict(check))
        for check, verdict in unproved:
            judging.finish(check, replace(verdict, reason=beside.proof()))
    return [judging.verdicts[check.id] for check in checks]


def _remember(check: Check, verdict: Verdict, known: Known) -> None:
    """What a basic check reports blocks the others, or need not be said again by them."""
    if not check.basic or verdict.outcome != "failed":
        return
    finding = verdict.findings[0]
    stage = finding.actual.rpartition("(in the ")[2].rstrip(")")
    known.troubles.add((stage, finding.kind.removeprefix("raises ")))
    if verdict.cases <= 1:
        known.blocked_by = check.id


def _explain(
    check: Check,
    verdict: Verdict,
    opened: Opened,
    known: Known,
    scripts: Scripts,
    request: Request,
    tell: Listener,
) -> Verdict:
    started = time.perf_counter()
    (finding,) = verdict.findings
    tell(Explaining(check.id, "looking for the smallest case"))
    apart = Known() if check.basic else known
    if check.plans:
        finding = shortest(check, opened.subject, finding, opened.executor)
    else:
        finding = smallest(check, opened.subject, finding, opened.executor, apart)
        if is_large(opened.subject, finding.case):
            finding = shortest(check, opened.subject, finding, opened.executor)
    finding = naming_ranks(opened.subject, opened.executor, finding)
    finding = explained(
        check, opened, finding, request, lambda step: tell(Explaining(check.id, step)), scripts
    )
    seconds = verdict.seconds + time.perf_counter() - started
    return replace(verdict, findings=(finding,), seconds=seconds)


def _header(request: Request, seed: int, opened: Opened) -> Header:
    notes = opened.subject.interface.notes
    if not opened.isolated:
        notes = (*notes, "in this process, not isolated")
    return Header(
        target=target_name(request),
        mechanism=opened.subject.mechanism.id,
        adapter=notes,
        seed=seed,
        budget=request.budget,
        device=request.device,
        dtypes=opened.subject.dtypes,
        versions=versions(),
        invocation=_invocation(request),
    )


def target_name(request: Request) -> str:
    """The target as a report calls it."""
    if request.adapter and not isinstance(request.target, str):
        return request.adapter
    return (
        request.target
        if isinstance(request.target, str)
        else getattr(request.target, "__qualname__", repr(request.target))
    )


def versions() -> dict[str, str]:
    """What the verdict may depend on."""
    import attncheck

    return {
        "attncheck": getattr(attncheck, "__version__", "0.1.0"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": sys.platform,
    }


def _invocation(request: Request) -> dict[str, object]:
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(request).items()}
    return {**fields, "target": target_name(request)}


def _unopened(request: Request, seed: int, verdict: Verdict, tell: Listener) -> Report:
    """The report of a target whose import or construction ends its process."""
    header = Header(
        target_name(request),
        request.mechanism or "unknown",
        seed=seed,
        budget=request.budget,
        versions=versions(),
        invocation=_invocation(request),
    )
    for event in (RunStarted(header, (verdict.check,)), CheckFinished(verdict)):
        tell(event)
    report = Report(header, {}, (verdict,))
    tell(RunFinished(report))
    return report
