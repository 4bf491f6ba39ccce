"""`attncheck list`: the names that other commands understand."""

from collections.abc import Callable, Sequence

import click

Rows = list[Sequence[str]]


def _mechanisms() -> Rows:
    from attncheck.shapes.catalogue import mechanisms

    return [(m.id, m.title) for m in mechanisms()]


def _checks() -> Rows:
    from attncheck.checks import every_check

    return [(c.id, c.family, c.claim) for c in every_check()]


def _defects() -> Rows:
    from attncheck.defects import DEFECTS

    return [(d.id, d.mechanism, d.sentence) for d in DEFECTS]


def _conventions() -> Rows:
    from attncheck.model.convention import CONVENTIONS

    return [(c.id, c.question, " | ".join(c.options)) for c in CONVENTIONS]


_LISTS: dict[str, Callable[[], Rows]] = {
    "mechanisms": _mechanisms,
    "checks": _checks,
    "defects": _defects,
    "conventions": _conventions,
}


@click.command("list", short_help="List mechanisms, checks, defects or conventions.")
@click.argument("what", type=click.Choice(tuple(_LISTS)))
def command(what: str) -> None:
    """List every mechanism, check, defect or convention, one a line, the name first."""
    from attncheck.report.pages import columns

    for line in columns(_LISTS[what](), indent=""):
        click.echo(line)
