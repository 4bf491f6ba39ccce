"""The command line: parsing only, one file a command."""

import importlib
import os
import sys
from typing import Any

import click

from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.model.nearest import did_you_mean

# In the order of the help: the name of each command, and the file of this folder whose `command` it is.
# A module called `list` would hide the builtin here once it is imported.
COMMANDS = {
    "run": "run",
    "selftest": "selftest",
    "list": "names",
    "show": "show",
    "shapes": "shapes",
    "adapt": "adapt",
    "prove": "prove",
    "replay": "replay",
    "diff": "diff",
    "matrix": "matrix",
}

INTERRUPTED = 130


class Commands(click.Group):
    """Commands that are imported when they are named, and errors that are one clear line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's own signature
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's own signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"attncheck.cli.{COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise UsageError(
                f"unknown command {name!r}{did_you_mean(name, COMMANDS)} (attncheck --help shows all)"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except UsageError as error:
            click.echo(f"attncheck: {error}", err=True)
            ctx.exit(2)
        except NoAdapterError as error:
            click.echo(f"attncheck: {error}", err=True)
            ctx.exit(3)
        except KeyboardInterrupt:
            click.echo("attncheck: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_output()
            ctx.exit(INTERRUPTED)
        return result


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="attncheck", message="%(prog)s %(version)s")
def main() -> None:
    """Is this attention right?

    Judges an implementation of an attention mechanism against its mathematics, for every size.

    \b
    attncheck run torch.nn:MultiheadAttention
    attncheck run my_file.py:CrossAttention --mechanism cross

    Exit codes: 0 conforms, 1 findings, 2 wrong usage, 3 could not be judged, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no ✓ gets an escape instead of a traceback.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")


def _forget_output() -> None:
    """The reader is gone: let what is still buffered go nowhere, or Python complains at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
