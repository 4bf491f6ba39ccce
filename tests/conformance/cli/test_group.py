"""The group of commands: help, names, errors."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from attncheck.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(main, [name, "--help"])

    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {name}")


def test_help_fits_a_screen():
    lines = CliRunner().invoke(main, ["--help"]).output.splitlines()

    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


def test_the_version_is_the_package_s():
    result = CliRunner().invoke(main, ["--version"], prog_name="attncheck")

    assert result.output == "attncheck 0.1.0\n"


def test_a_command_that_does_not_exist_suggests_the_nearest():
    result = CliRunner().invoke(main, ["shapse"])

    assert result.exit_code == 2
    expected = "attncheck: unknown command 'shapse'; did you mean 'shapes'? (attncheck --help shows all)\n"
    assert result.stderr == expected


def test_help_imports_no_torch():
    code = (
        "import sys; from attncheck.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'attnref' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_pipe_that_closes_early_ends_without_a_message():
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "attncheck", "list", "conventions"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip

    os.close(writer)
    assert (done.returncode, done.stderr) == (130, "")


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "attncheck", "--version"], capture_output=True, text=True, check=False
    )

    assert done.stdout == "attncheck 0.1.0\n"


def test_importing_every_command_hides_no_builtin():
    for name in COMMANDS:
        command = main.get_command(None, name)
        assert command is not None
        assert command.name == name

    assert main.list_commands(None) == list(COMMANDS)
