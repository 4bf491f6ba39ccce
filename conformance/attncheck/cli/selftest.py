"""`attncheck selftest`: what the suite catches, and what it leaves alone."""

import sys
from pathlib import Path

import click

from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean


@click.command("selftest", short_help="What the suite catches, and what it leaves alone.")
@click.option(
    "--seeds", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Seeds 0 to N-1."
)
@click.option(
    "--budget", type=click.Choice(("quick", "default", "deep")), default="default", show_default=True
)
@click.option(
    "--mechanism", "-m", "mechanisms", metavar="ID", multiple=True, help="Only these.  [repeatable]"
)
@click.option("--jobs", metavar="N", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option(
    "--exhaustive", is_flag=True, help="Put every check to every mistake, not only until one finds it."
)
@click.option("--record", metavar="FILE", help="Go on where that file ends, and write down what is done.")
@click.option(
    "--markdown", metavar="FILE", help="Write the tables as Markdown, into their place if the file has one."
)
def command(
    seeds: int,
    budget: str,
    mechanisms: tuple[str, ...],
    jobs: int,
    exhaustive: bool,
    record: str | None,
    markdown: str | None,
) -> None:
    """Put every known mistake, and everything that is right, before the checks.

    \b
    attncheck selftest
    attncheck selftest --seeds 20 --jobs 8 --markdown README.md
    attncheck selftest --exhaustive --budget quick --mechanism cross

    Exit codes: 0 all mistakes found and nothing right accused, 1 otherwise, 2 wrong usage.
    """
    from attncheck.engine.resuming import opened
    from attncheck.engine.selftest import selftest
    from attncheck.report.score import lines
    from attncheck.report.score import markdown as as_markdown
    from attnref.catalogue import BY_ID

    for name in mechanisms:
        if name not in BY_ID:
            raise UsageError(
                f"unknown mechanism {name!r}{did_you_mean(name, BY_ID)} "
                f"(attncheck list mechanisms shows all {len(BY_ID)})"
            )
    score = selftest(
        budget,  # type: ignore[arg-type]  # a choice
        range(seeds),
        mechanisms,
        jobs,
        listener=_progress,
        exhaustive=exhaustive,
        record=opened(Path(record), exhaustive) if record is not None else None,
    )
    for line in lines(score):
        click.echo(line)
    if markdown is not None:
        from attncheck.report.score import written_into

        path = Path(markdown)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(written_into(before, as_markdown(score)), encoding="utf-8")
    raise SystemExit(0 if score.passed else 1)


def _progress(mechanism: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done}/{total}  {mechanism:<24}", nl=done == total, err=True)
