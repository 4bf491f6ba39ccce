"""The examples for other people's projects parse, and the commands in them run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "in-your-project.md").read_text(encoding="utf-8")
ATTENTION = """
import torch

def attend(q, k, v):
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v

def wrong(q, k, v):
    return torch.softmax(q @ k.mT, dim=-1) @ v
"""


def documents() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "my_package.py").write_text(ATTENTION)
    return tmp_path


def run(project: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    assert words[:2] == ["attncheck", "run"]
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_the_command_of_the_workflow_judges_both_targets_and_writes_its_files(project: Path):
    steps = documents()[0]["jobs"]["conforms"]["steps"]
    command = next(step["run"] for step in steps if "attncheck run" in step.get("run", ""))
    for old, new in (
        ("my_package:MyAttention", "my_package:attend"), ("my_package:OtherAttention", "my_package:wrong"),
        ("multi_head", "scaled_dot_product --budget quick --no-explain"), ("$GITHUB_STEP_SUMMARY", "summary.md"),
    ):  # fmt: skip
        assert old in command
        command = command.replace(old, new)

    done = run(project, shlex.split(command))

    assert done.returncode == 1, done.stderr
    summary = (project / "summary.md").read_text()
    assert "## `my_package:attend` conforms" in summary
    assert "## `my_package:wrong` does not conform" in summary
    assert (project / "attention.xml").read_text().count("<testsuite ") == 2
    page = (project / "attention.html").read_text()
    assert page.count("<article>") == 2
    assert "http://" not in page


def test_the_hook_runs_with_the_arguments_of_the_page(project: Path):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    used = documents()[1]["repos"][0]["hooks"][0]
    mechanism = {"multi_head": "scaled_dot_product"}
    given = [mechanism.get(word, word) for word in used["args"]]
    given[-1] = "my_package.py:attend"

    done = run(project, [*shlex.split(hook["entry"]), *given])

    assert used["id"] == hook["id"]
    assert done.returncode == 0, done.stdout + done.stderr
