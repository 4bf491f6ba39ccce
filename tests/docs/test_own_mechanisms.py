"""The example distribution is installed into a folder and adds a mechanism, a check and an adapter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "linear-attention"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from that holds what installing the example would put there."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", str(folder), str(EXAMPLE)], check=True)
    return folder


def attncheck(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attncheck", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_mechanism_takes_at_most_forty_lines():
    assert len((EXAMPLE / "linear_attention.py").read_text().splitlines()) <= 40


def test_what_is_installed_is_listed_and_shown(folder: Path, tmp_path: Path):
    assert "linear_attention    Linear attention" in attncheck(folder, "list", "mechanisms").stdout
    assert "stays_within_the_values" in attncheck(folder, "list", "checks").stdout
    assert "(2, heads, q_len, v_dim)" in attncheck(folder, "shapes", "linear_attention", "batch=2").stdout

    shown = attncheck(folder, "show", "linear_attention", "--pages", str(tmp_path))

    assert shown.returncode == 0, shown.stderr
    assert "# Linear attention" in (tmp_path / "linear_attention.md").read_text()
    assert (tmp_path / "pictures" / "linear_attention.svg").exists()


@pytest.mark.parametrize(
    ("target", "words", "code"),
    [
        ("linear_layers:attend", ("--mechanism", "linear_attention"), 0),
        ("linear_layers:attend_unnormalised", ("--mechanism", "linear_attention"), 1),
        ("linear_layers:attend_packed", (), 0),
    ],
)
def test_a_right_implementation_conforms_and_a_wrong_one_does_not(folder: Path, target, words, code):
    done = attncheck(folder, "run", target, *words, "--budget", "quick", "--seed", "0", "-v", "--no-explain")

    assert done.returncode == code, done.stdout + done.stderr
    assert "stays_within_the_values" in done.stdout


def test_a_registered_adapter_is_named_in_the_header(folder: Path):
    done = attncheck(folder, "run", "linear_layers:attend_packed", "--budget", "quick", "--family", "shape")

    assert "adapter of linear-attention 1.0, entry point 'linear_layers:attend_packed'" in done.stdout


@pytest.mark.parametrize(
    ("group", "value", "message"),
    [
        ("checks", "nowhere:it", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'; mend or uninstall it"),
        ("checks", "os:sep", "expected an attncheck.checks.Check or several, got a str"),
        ("mechanisms", "os:sep", "expected an attnref.Mechanism or several, got a str"),
    ],
)  # fmt: skip
def test_a_broken_entry_point_is_named_with_its_distribution(tmp_path: Path, group, value, message):
    facts = tmp_path / "broken_one-2.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-one\nVersion: 2.0\n")
    (facts / "entry_points.txt").write_text(f"[attncheck.{group}]\nbad = {value}\n")

    done = attncheck(tmp_path, "list", group)

    assert done.returncode == 2
    expected = f"attncheck: broken-one 2.0, entry point 'bad' of attncheck.{group} ({value})"
    assert done.stderr.startswith(expected)
    assert done.stderr.rstrip().endswith(message)
