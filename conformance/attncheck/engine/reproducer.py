"""A script of at most thirty lines that shows a finding; it is run before it is handed out."""

import subprocess
import sys
import tempfile
from pathlib import Path

from attncheck.checks.check import Check
from attncheck.engine.opening import Opened
from attncheck.engine.recording import REFERENCE_FAMILIES, recorded
from attncheck.engine.scripting import Script
from attncheck.engine.torchcode import NoWordsError
from attncheck.model.finding import Finding

MOST_LINES = 30
_SECONDS = 20.0


def reproducer(check: Check, opened: Opened, finding: Finding, target: object) -> str | None:
    """A script that was seen to show the finding, or None if none can be written.

    Laws break with any weights; what only the reference shows needs the reference's.
    """
    found = opened.found
    if (
        found is None
        or found.framework
        or found.owned
        or found.core
        or not isinstance(target, str)
        or opened.subject.device != "cpu"
    ):
        return None
    recording = recorded(check, opened.subject, finding.case, opened.executor)
    by_name = [found.placements, *found.others] if found.loads and found.placements else []
    plain = [] if check.family in REFERENCE_FAMILIES and by_name else [()]
    for placements in (*plain, *by_name):
        try:
            script = Script(check, found, finding, recording, target, placements).text()
        except NoWordsError:
            continue
        if len(script.splitlines()) <= MOST_LINES and shows(script):
            return script
    return None


def shows(script: str) -> bool:
    """Whether the script, in an interpreter of its own, says that the defect is there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reproducer.py"
        path.write_text(script, encoding="utf-8")
        command = [sys.executable, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
    # A script that only raises ends with 1 as well, but says something else.
    return done.returncode == 1 and done.stdout.startswith("defect: ")
