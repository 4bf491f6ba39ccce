"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_transcript_is_what_the_console_prints(tmp_path: Path) -> None:
    """Every line is printed, in this order; "…" stands for lines or ends of lines left out."""
    (source,) = re.findall(r"# my_file\.py\n(.*?)```", README, flags=re.DOTALL)
    (command, transcript) = re.findall(r"\$ attncheck (.*?)\n(.*?)```", README, flags=re.DOTALL)[0]
    (tmp_path / "my_file.py").write_text(
        f"import torch\nfrom torch import nn\n\n\n{source}", encoding="utf-8"
    )

    done = subprocess.run(
        [sys.executable, "-m", "attncheck", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
    )

    assert done.returncode == 1, done.stderr
    printed = iter(done.stdout.splitlines())
    for line in transcript.splitlines():
        start = line.partition("…")[0].rstrip(" (")
        assert any(each.startswith(start) for each in printed), line


def test_every_make_target_of_the_readme_exists() -> None:
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert set(re.findall(r"^make ([a-z]+)", README, flags=re.MULTILINE)) <= set(rules)


def test_every_page_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((docs/[^)]*)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
