"""`attncheck replay`: run the findings of a report again."""

import click

from attncheck.engine.events import ConventionsFound, RunFinished, RunStarted
from attncheck.model.report import Report


@click.command("replay", short_help="Run the findings of a report again.")
@click.argument("report", metavar="REPORT.jsonl", type=click.Path())
def command(report: str) -> None:
    """Run the checks that found something in REPORT.jsonl again, on the cases that showed it.

    Exit codes: 0 all findings are gone, 1 some are still there, 2 no report, 3 could not be judged.
    """
    from attncheck.report.console import Console, Terminal
    from attncheck.report.jsonl import load

    console = Console(Terminal())
    codes = {0}
    for old in load(report):
        if not old.complete:
            click.echo(f"{old.header.target}: the run was cut off; what it had found until then:")
        if not old.failed:
            click.echo(f"{old.header.target}: nothing to replay, no check failed")
            continue
        new = _replayed(old)
        for event in (
            RunStarted(new.header, ()),
            ConventionsFound(dict(new.conventions)),
            RunFinished(new),
        ):
            console(event)
        for line in _compared(old, new):
            click.echo(line)
        codes.add(new.exit_code)
    raise SystemExit(next(code for code in (1, 3, 0) if code in codes))


def _replayed(report: Report) -> Report:
    from attncheck.engine.run import replay

    return replay(report)


def _compared(old: Report, new: Report) -> list[str]:
    now = {verdict.check: verdict.outcome for verdict in new.verdicts}
    words = {"failed": "still fails", "passed": "no longer fails"}
    outcomes = [(v.check, now.get(v.check, "was not judged")) for v in old.failed]
    return [f"{check}: {words.get(outcome, outcome)}" for check, outcome in outcomes]
