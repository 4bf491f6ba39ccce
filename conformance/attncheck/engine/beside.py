"""What is slow and needs little of the judge runs beside the other checks: in a thread, with a worker of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from attncheck.checks.check import Check
from attncheck.engine.judging import Known, judge
from attncheck.engine.opening import Opened
from attncheck.engine.proving import in_a_run
from attncheck.engine.request import Request
from attncheck.model.case import Case
from attncheck.model.verdict import Verdict

Plan = Callable[[Check], Sequence[Case]]


class Beside:
    """Slow checks, then the proof, one after the other, while others are judged.

    The proof shares the worker with the checks: both need the compiler, whose import takes a second.
    Where the target has one process only, everything is done when it is asked for.
    """

    def __init__(self, request: Request, opened: Opened, known: Known, plan: Plan) -> None:
        self._request = request
        self._opened = opened
        self._known = known
        self._plan = plan
        self._worker = opened.another() if opened.another is not None else None
        self._thread = ThreadPoolExecutor(1)
        self._verdicts: dict[str, Future[Verdict]] = {}
        self._proof: Future[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._worker is not None:
            # What still waits for an answer gets the loss of the worker for one.
            self._worker.close()

    def begin(self, checks: Sequence[Check], *, prove: bool) -> None:
        """Start with these checks, and with the proof if it is wanted."""
        if self._worker is None:
            return
        self._verdicts = {check.id: self._thread.submit(self._judged, check) for check in checks}
        if prove:
            self._proof = self._thread.submit(in_a_run, self._request, self._opened, self._worker)

    def verdict(self, check: Check) -> Verdict:
        """The verdict of a check, begun or not."""
        return self._verdicts[check.id].result() if check.id in self._verdicts else self._judged(check)

    def proof(self) -> str:
        """What a verdict on shapes says of all sizes."""
        return in_a_run(self._request, self._opened) if self._proof is None else self._proof.result()

    def _judged(self, check: Check) -> Verdict:
        executor = self._worker or self._opened.executor
        return judge(check, self._opened.subject, self._plan(check), executor, self._known)
