"""What turns a failure into an explanation: the predicate of sizes, the known mistake, a reproducer."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from attncheck.checks.check import Check
from attncheck.engine.opening import Opened
from attncheck.engine.reproducer import reproducer
from attncheck.engine.request import Request
from attncheck.model.finding import Finding
from attncheck.model.verdict import Family

Tell = Callable[[str], None]

# A script takes seconds, most of which is the import of torch, so one is made for each likely cause.
_CAUSES: Mapping[Family, str] = {"shape": "shape", "hygiene": "hygiene"}
_TRIES = 3


@dataclass
class Scripts:
    """Which causes have a script, and for how many findings of each one was tried in vain."""

    found: set[str] = field(default_factory=set)
    vain: Counter[str] = field(default_factory=Counter)


def explained(
    check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell, scripts: Scripts
) -> Finding:
    """The finding with everything that could be found out about it."""
    return _reproduced(check, opened, finding, request, tell, scripts)


def _reproduced(
    check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell, scripts: Scripts
) -> Finding:
    """The finding with a script, if none of the same cause has one: laws come before what they explain."""
    cause = _CAUSES.get(check.family, "mathematics")
    if cause in scripts.found or scripts.vain[cause] >= _TRIES:
        return finding
    tell("writing a script that shows it")
    script = reproducer(check, opened, finding, request.target)
    if script is None:
        scripts.vain[cause] += 1
        return finding
    scripts.found.add(cause)
    return finding.explained(script=script)
