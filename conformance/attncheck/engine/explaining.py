"""What turns a failure into an explanation: the predicate of sizes, the known mistake, a reproducer."""

from collections.abc import Callable

from attncheck.checks.check import Check
from attncheck.engine.opening import Opened
from attncheck.engine.request import Request
from attncheck.model.finding import Finding

Tell = Callable[[str], None]


def explained(check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell) -> Finding:
    """The finding with everything that could be found out about it."""
    return finding
