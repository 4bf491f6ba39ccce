"""Write the generated pages; run as `python docs/generate.py`, or `make pages`."""

import sys
from pathlib import Path

import click

from attncheck.cli import COMMANDS, main
from attncheck.report.docs.markdown import GENERATED
from attncheck.report.docs.site import pages

_WIDTH = 96


def generated() -> dict[str, str]:
    """Every generated page by its path below this folder."""
    return {**pages(), "command-line.md": command_line()}


def command_line() -> str:
    """The help of every command, as the command line prints it."""
    lines = [GENERATED, "# Command line", "", "For a person who types `attncheck`.", ""]
    root = _context(main, "attncheck")
    lines += ["```text", main.get_help(root), "```", ""]
    for name in COMMANDS:
        command = main.get_command(root, name)
        assert command is not None, f"COMMANDS lists {name}, which is no command"
        context = _context(command, name, root)
        lines += [f"## attncheck {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    # With the command's own settings, as its invocation has them: click keeps the first help option it made.
    settings = {**command.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def write(folder: Path) -> None:
    """Write every page, and remove pages of shapes that no mechanism has any more."""
    made = generated()
    for old in [*folder.glob("shapes/*.md"), *folder.glob("shapes/pictures/*.svg")]:
        if str(old.relative_to(folder)) not in made:
            old.unlink()
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
