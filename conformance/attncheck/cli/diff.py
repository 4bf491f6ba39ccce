"""`attncheck diff`: what changed between two reports, or between two matrices."""

from pathlib import Path

import click

from attncheck.model.errors import UsageError


@click.command("diff", short_help="Name the verdicts that changed between two reports or matrices.")
@click.argument("old", metavar="OLD", type=click.Path())
@click.argument("new", metavar="NEW", type=click.Path())
def command(old: str, new: str) -> None:
    """Name exactly the verdicts that differ between OLD and NEW: two reports, or two folders of a matrix.

    Exit codes, as of diff(1): 0 nothing changed, 1 something did, 2 no report.
    """
    if Path(old).is_dir() != Path(new).is_dir():
        raise UsageError(f"expected two reports or two folders of a matrix, got {old} and {new}")
    changed = _of_folders(old, new) if Path(old).is_dir() else _of_reports(old, new)
    for change in changed:
        click.echo(change)
    click.echo(f"{len(changed)} changed" if changed else "no verdict changed")
    raise SystemExit(1 if changed else 0)


def _of_reports(old: str, new: str) -> list[str]:
    from attncheck.report.changes import changes
    from attncheck.report.jsonl import load

    before, after = load(old), load(new)
    for path, reports in ((old, before), (new, after)):
        for report in reports:
            if not report.complete:
                click.echo(f"{path}: the run on {report.header.target} was cut off", err=True)
    return [str(change) for change in changes(before, after)]


def _of_folders(old: str, new: str) -> list[str]:
    from attncheck.engine.matrix import read_folder
    from attncheck.report.changes import changed_cells

    (before, _), (after, _) = read_folder(old), read_folder(new)
    return [str(change) for change in changed_cells(before, after)]
