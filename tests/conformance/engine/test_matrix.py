"""Many targets: the file that names them, their environments, and what is left after an interruption."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from attncheck.engine.environments import Environments, InstallError, shared_paths
from attncheck.engine.matrix import Plan, Progress, judge_all, read_folder, read_report
from attncheck.engine.targets_file import read
from attncheck.model.cell import Package
from attncheck.model.errors import UsageError

RIGHT = """
import torch

def right(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)

def unscaled(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)

def sleeps(q, k, v):
    import time
    time.sleep(60)
"""

TARGETS = """
[packages.tiny]
version = "1.2"
licence = "MIT"

[[targets]]
target = "tiny.py:right"
package = "tiny"
mechanism = "scaled_dot_product"

[[targets]]
target = "tiny.py:unscaled"
package = "tiny"
mechanism = "scaled_dot_product"

[[targets]]
target = "tiny.py:gone"
package = "tiny"
mechanism = "scaled_dot_product"

[[absent]]
target = "tiny.cuda:kernel"
package = "tiny"
reason = "needs a device"
"""


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(RIGHT)
    path = tmp_path / "targets.toml"
    path.write_text(TARGETS)
    return path


def plan_of(path: Path, **changes: object) -> Plan:
    file = read(str(path))
    environments = Environments(path.parent / "cache", file.folder)
    plan = Plan(file, file.cells, path.parent / "site", environments, budget="quick")
    return replace(plan, **changes)  # type: ignore[arg-type]  # fields of Plan


def test_every_target_ends_with_what_became_of_it(targets: Path) -> None:
    judged = judge_all(plan_of(targets, jobs=2))

    assert [each.record.outcome for each in judged] == ["conforms", "findings", "unusable"]
    assert [each.report is not None for each in judged] == [True, True, False]
    assert "gone" in judged[2].record.message


def test_what_is_judged_is_not_judged_again(targets: Path) -> None:
    plan = plan_of(targets)
    plan = replace(plan, cells=plan.cells[:1])
    first = judge_all(plan)
    steps: list[Progress] = []

    second = judge_all(plan, steps.append)

    assert second == first
    assert [step.last for step in steps if step.last] == []


def test_a_cell_counts_only_with_the_footer_of_its_report(targets: Path) -> None:
    plan = plan_of(targets)
    plan = replace(plan, cells=plan.cells[:1])
    judge_all(plan)
    report = plan.folder / f"{plan.cells[0].id}.jsonl"
    whole = report.read_text()
    report.write_text(whole[: whole.rindex('{"kind": "footer"')])
    steps: list[Progress] = []

    judge_all(plan, steps.append)

    assert read_report(report) is not None
    assert len([step for step in steps if step.last]) == 1


def test_another_budget_is_another_result(targets: Path) -> None:
    plan = plan_of(targets)

    marks = {plan.fingerprint(plan.cells[0]), replace(plan, seed=1).fingerprint(plan.cells[0])}

    assert len(marks) == 2


def test_a_written_adapter_that_changed_is_another_result(targets: Path) -> None:
    adapter = targets.parent / "mine.py"
    adapter.write_text("first = 1")
    plan = plan_of(targets)
    cell = replace(plan.cells[0], adapter="mine.py:A")
    before = plan.fingerprint(cell)

    adapter.write_text("second = 2")

    assert plan.fingerprint(cell) != before


def test_a_target_that_takes_too_long_costs_its_own_cell(targets: Path) -> None:
    text = TARGETS.replace("tiny.py:gone", "tiny.py:sleeps")
    targets.write_text(text)
    plan = plan_of(targets, seconds=3.0)

    judged = judge_all(replace(plan, cells=plan.cells[2:]))

    assert judged[0].record.outcome == "timed out"
    assert judged[0].record.message == "not judged after 3 s"


def test_at_most_one_cell_a_job_is_lost_to_a_kill(targets: Path) -> None:
    site = targets.parent / "site"
    command = [
        sys.executable,
        "-m",
        "attncheck",
        "matrix",
        str(targets),
        "--out",
        str(site),
        "--budget",
        "quick",
    ]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    names = {cell.target: cell.id for cell in read(str(targets)).cells}
    first = site / "cells" / f"{names['tiny.py:right']}.json"
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = first.read_text()

    again = subprocess.run(command, capture_output=True, text=True, check=True)

    assert first.read_text() == kept
    assert "tiny.py:right" not in again.stderr
    assert "tiny.py:unscaled: findings" in again.stderr


def test_the_folder_tells_the_order_and_what_is_absent(targets: Path) -> None:
    plan = plan_of(targets)
    judge_all(replace(plan, cells=plan.cells[2:]))

    judged, absent = read_folder(str(plan.out))

    assert [each.record.target for each in judged] == ["tiny.py:gone"]
    assert [each.reason for each in absent] == ["needs a device"]


def test_a_folder_without_a_matrix_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no matrix: expected matrix\.jsonl in it"):
        read_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected [[targets]], found none"),
        ("[[targets]]\npackage = 'x'", "lacks target"),
        ("[[targets]]\ntarget = 'a:b'\npackage = 'x'", "names package 'x'; add [packages.x]"),
        (
            "[[targets]]\ntarget = 'a:b'\nmechanims = 'cross'",
            "unknown entry 'mechanims'; did you mean 'mechanism'?",
        ),
        ("[[targets]]\ntarget = 'a:b'\n[[targets]]\ntarget = 'a:b'", "two targets are called 'a-b'"),
        ("[[absent]]\ntarget = 'a:b'", "lacks package, reason"),
        ("targets = [", "is no TOML"),
    ],
)
def test_a_wrong_file_is_told_with_its_entry(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)

    with pytest.raises(UsageError) as error:
        read(str(path))

    assert message in str(error.value)


def test_an_environment_has_the_torch_that_runs_and_is_made_once(tmp_path: Path) -> None:
    (tmp_path / "mark.py").write_text("import os; os.environ['MARK'] = 'set'")
    environments = Environments(tmp_path / "cache", tmp_path)
    package = Package("none", prelude="mark.py")

    python = environments.python(package)

    code = "import os, json, torch, attncheck; print(json.dumps([torch.__file__, os.environ['MARK']]))"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    import torch

    assert json.loads(told.stdout) == [torch.__file__, "set"]
    made = (Path(python).parents[1] / "complete").stat().st_mtime_ns
    assert environments.python(package) == python
    assert (Path(python).parents[1] / "complete").stat().st_mtime_ns == made


def test_what_cannot_be_installed_says_so(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "cache", tmp_path)
    package = Package("gone", requirements=(str(tmp_path / "no-such-wheel-1.0-py3-none-any.whl"),))

    with pytest.raises(InstallError):
        environments.python(package)


def test_torch_and_the_suite_are_found_in_the_shared_paths() -> None:
    homes = [Path(path) for path in shared_paths()]

    for name in ("torch", "attncheck", "attnref", "hypothesis"):
        assert any((home / name).is_dir() for home in homes), name
