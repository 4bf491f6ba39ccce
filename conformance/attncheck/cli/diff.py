"""`attncheck diff`: what changed between two reports."""

import click


@click.command("diff", short_help="Name the verdicts that changed between two reports.")
@click.argument("old", metavar="OLD.jsonl", type=click.Path())
@click.argument("new", metavar="NEW.jsonl", type=click.Path())
def command(old: str, new: str) -> None:
    """Name exactly the verdicts that differ between OLD.jsonl and NEW.jsonl.

    Exit codes, as of diff(1): 0 nothing changed, 1 something did, 2 no report.
    """
    from attncheck.report.changes import changes
    from attncheck.report.jsonl import load

    before, after = load(old), load(new)
    for path, reports in ((old, before), (new, after)):
        for report in reports:
            if not report.complete:
                click.echo(f"{path}: the run on {report.header.target} was cut off", err=True)
    changed = changes(before, after)
    for change in changed:
        click.echo(str(change))
    click.echo(f"{len(changed)} changed" if changed else "no verdict changed")
    raise SystemExit(1 if changed else 0)
