"""Where the server of workers comes from: a process of its own, or a fork of a judge that is still fresh."""

import subprocess
import sys

import pytest

TARGET = """
import sys
raise RuntimeError(f"arguments {sys.argv}, torch there before: {'torch' in sys.modules}")
"""

THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(120,), daemon=True).start()"

# Prints whether the server runs the judge's own command line, as a fork does, and what the target saw.
JUDGE = """
import sys
from pathlib import Path
{before}
from attncheck.engine.server import fork_server
fork_server().start_early()
from attncheck.engine.session import Inquiry, TargetTroubleError
with Inquiry() as inquiry:
    child = inquiry._child = inquiry._start()
    server = Path(f"/proc/{{child.pid}}/stat").read_text().rpartition(")")[2].split()[1]
    same = Path(f"/proc/{{server}}/cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes()
    try:
        arguments = {{"target": "target.py:attend", "mechanism": "scaled_dot_product", "init": {{}}}}
        inquiry.run("attncheck.targets.opening:find", arguments)
    except TargetTroubleError as error:
        print("forked" if same else "started", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server is never a fork")
@pytest.mark.parametrize(
    ("before", "how"),
    [("", "forked"), ("import torch", "started"), (THREAD, "started")],
    ids=["fresh", "with torch loaded", "with a second thread"],
)
def test_the_server_is_a_fork_of_a_judge_that_has_done_nothing_else(before, how, tmp_path):
    script = tmp_path / "judge.py"
    script.write_text(JUDGE.format(before=before))
    (tmp_path / "target.py").write_text(TARGET)

    done = subprocess.run(
        [sys.executable, script.name, "an argument"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith(how)
    assert "arguments ['-c'], torch there before: True" in done.stdout
