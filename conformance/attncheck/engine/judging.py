"""One check against one subject: trials run side by side, questions travel together."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from attncheck.checks.check import Check, Mismatch, NotJudged, Trial, raised
from attncheck.engine.put import Executor
from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.model.verdict import Outcome, Verdict
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.legal import at_first
from attncheck.targets.subject import Subject

# Cases whose questions travel in one message.
_TOGETHER = 8


@dataclass
class Known:
    """Trouble that a basic check has reported: others need not report it again."""

    troubles: set[tuple[str, str]] = field(default_factory=set)
    blocked_by: str = ""


@dataclass
class _Tally:
    judged: int = 0
    reasons: list[str] = field(default_factory=list)
    troubled: list[Trouble] = field(default_factory=list)
    finding: Finding | None = None


def judge(check: Check, subject: Subject, cases: Sequence[Case], executor: Executor, known: Known) -> Verdict:
    """The verdict of one check; it ends at the first case that breaks the claim."""
    started = time.perf_counter()
    reason = check.applies(subject)
    if reason:
        return Verdict(check.id, check.family, "skipped", reason=reason)
    if known.blocked_by and not check.basic:
        return Verdict(
            check.id, check.family, "errored", planned=len(cases), reason=f"blocked by {known.blocked_by}"
        )
    tally = _Tally()
    # The first case of great length that fails saves the others, each of which takes seconds.
    together = 1 if check.plans else _TOGETHER
    for start in range(0, len(cases), together):
        _judge_some(check, subject, cases[start : start + together], executor, known, tally)
        if tally.finding:
            break
    outcome, reason = _outcome(check, subject, tally)
    return Verdict(
        check.id, check.family, outcome, tally.judged, len(cases), reason,
        (tally.finding,) if tally.finding else (), time.perf_counter() - started,
    )  # fmt: skip


def _outcome(check: Check, subject: Subject, tally: _Tally) -> tuple[Outcome, str]:
    if tally.finding:
        excuse = check.excuse(subject)
        return ("deviates", excuse) if excuse else ("failed", "")
    if tally.judged:
        return "passed", ""
    if tally.troubled and all(t.stage == "constructor" for t in tally.troubled):
        return "skipped", f"the constructor refuses every size it is stated for: {tally.troubled[0]}"
    if tally.troubled:
        return "errored", f"no case could be judged: {tally.troubled[0]}"
    why = tally.reasons[0] if tally.reasons else check.budgets or "none is legal"
    return "skipped", f"no case could be judged: {why}"


def _judge_some(
    check: Check, subject: Subject, cases: Iterable[Case], executor: Executor, known: Known, tally: _Tally
) -> None:
    """Run the trials of some cases in step, until each has returned its judgement."""
    running: list[tuple[Case, Trial, Sequence[Ask]]] = []
    for case in cases:
        trial = check.judge(subject, case)
        _advance(check, case, trial, None, running, tally)
    while running and not tally.finding:
        asks = [ask for _, _, wanted in running for ask in wanted]
        answers = executor.put(asks)
        waiting, running = running, []
        for case, trial, wanted in waiting:
            mine, answers = answers[: len(wanted)], answers[len(wanted) :]
            if not tally.finding:
                _answered(check, subject, case, trial, mine, running, known, tally)


def _answered(
    check: Check,
    subject: Subject,
    case: Case,
    trial: Trial,
    answers: Sequence[Answer],
    running: list[tuple[Case, Trial, Sequence[Ask]]],
    known: Known,
    tally: _Tally,
) -> None:
    trouble = next((a.trouble for a in answers if a.trouble is not None), None)
    if trouble is not None and trouble.stage == "refused":
        tally.reasons.append(trouble.message)
        return
    if trouble is not None and trouble.stage == "adapter":
        tally.troubled.append(trouble)
    elif trouble is None or check.judges_trouble:
        _advance(check, case, trial, answers, running, tally)
    elif (trouble.stage, trouble.kind) in known.troubles or trouble.stage == "constructor":
        tally.troubled.append(trouble)
    elif not (subject.interface.loads or trouble.lost or at_first(subject, case)):
        # No weight shows what its sizes are, and what it raises may be for want of the right ones.
        tally.troubled.append(trouble)
    else:
        _close(check, case, raised(trouble), tally)


def _advance(
    check: Check,
    case: Case,
    trial: Trial,
    answers: Sequence[Answer] | None,
    running: list[tuple[Case, Trial, Sequence[Ask]]],
    tally: _Tally,
) -> None:
    try:
        wanted = trial.send(answers)  # type: ignore[arg-type]  # None starts a generator
        running.append((case, trial, wanted))
    except StopIteration as stop:
        _close(check, case, stop.value, tally)
    except (RuntimeError, IndexError, ValueError) as error:
        # An answer of a shape that the check did not count on: the shape has its own check.
        message = " ".join(str(error).split())[:200]
        tally.troubled.append(Trouble("check", type(error).__name__, message))


def _close(check: Check, case: Case, judgement: Mismatch | NotJudged | None, tally: _Tally) -> None:
    if isinstance(judgement, NotJudged):
        tally.reasons.append(judgement.reason)
        return
    tally.judged += 1
    if isinstance(judgement, Mismatch) and tally.finding is None:
        tally.finding = Finding(
            check.id, check.claim, judgement.expected, judgement.actual, case, judgement.gap, judgement.kind
        )
