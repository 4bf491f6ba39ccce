"""`attncheck matrix`: many targets, one table."""

import fnmatch
from pathlib import Path

import click

from attncheck.engine.request import BUDGETS, Budget
from attncheck.model.errors import UsageError


@click.command("matrix", short_help="Judge many targets: one table, one site.")
@click.argument("targets", metavar="TARGETS.toml", type=click.Path())
@click.option("--out", metavar="FOLDER", default="site", show_default=True, help="Where the site is written.")
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Targets at once."
)
@click.option(
    "--budget",
    type=click.Choice(BUDGETS),
    default="default",
    show_default=True,
    help="How many cases a check.",
)
@click.option(
    "--seed", metavar="N", type=click.IntRange(0), default=0, show_default=True, help="Of every run."
)
@click.option("--only", metavar="PATTERN", multiple=True,
              help="Only targets whose name, package or id it matches.  [repeatable; default: all]")  # fmt: skip
@click.option("--cell-limit", "seconds", metavar="SECONDS", type=click.FloatRange(0, min_open=True), default=900.0,
              show_default=True, help="For one target.")  # fmt: skip
@click.option(
    "--cache", metavar="FOLDER", help="Where environments are kept.  [default: the user's cache folder]"
)
def command(
    targets: str, out: str, jobs: int, budget: Budget, seed: int, only: tuple[str, ...], seconds: float,
    cache: str | None,
) -> None:  # fmt: skip
    """Judge every target of TARGETS.toml, each in an environment and a process of its own.

    What is judged already is not judged again: run the same command to go on after an interruption.

    \b
    attncheck matrix targets.toml --jobs 2 --out site/
    attncheck matrix targets.toml --only '*MultiHead*' --budget quick
    attncheck diff old-site/ site/

    Exit codes: 0 the site is written, 2 wrong usage, 130 interrupted.
    """
    from attncheck.engine.environments import Environments, default_cache
    from attncheck.engine.matrix import Plan, judge_all
    from attncheck.engine.targets_file import read
    from attncheck.report.html import write_site
    from attncheck.report.matrix_progress import MatrixProgress, summary

    file = read(targets)
    cells = tuple(
        cell for cell in file.cells
        if not only or any(_matches(p, (cell.id, cell.target, cell.package.name)) for p in only)
    )  # fmt: skip
    if not cells:
        raise UsageError(f"{targets}: no target matches {', '.join(only)}")
    environments = Environments(Path(cache).resolve() if cache else default_cache(), file.folder)
    plan = Plan(file, cells, Path(out), environments, jobs, budget, seed, seconds)
    with MatrixProgress() as progress:
        judged = judge_all(plan, progress)
    write_site(Path(out), judged, file.absent)
    click.echo(summary(judged))
    click.echo(f"{Path(out) / 'index.html'}")


def _matches(pattern: str, names: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for name in names)
