"""`attncheck show`: what is known of a mechanism, a check or a defect."""

from pathlib import Path

import click

from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean


@click.command("show", short_help="Explain a mechanism, a check or a defect.")
@click.argument("name", metavar="MECHANISM|CHECK|DEFECT")
@click.option(
    "--pages", metavar="FOLDER", help="Write the page and the picture of a mechanism.  [default: none]"
)
def command(name: str, pages: str | None) -> None:
    """Explain NAME: formula, shapes, laws, conventions and known mistakes, or the claim of a check."""
    for line in page(name):
        click.echo(line)
    if pages is not None:
        _write_pages(name, Path(pages))


def _write_pages(name: str, folder: Path) -> None:
    from attncheck.report.docs.site import pages_of
    from attncheck.shapes.catalogue import BY_ID

    if name not in BY_ID:
        raise UsageError(f"--pages: expected a mechanism, got {name!r} (attncheck list mechanisms)")
    for path, text in pages_of(BY_ID[name]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def page(name: str) -> list[str]:
    """The page of whatever has that name. Raises UsageError if nothing has."""
    from attncheck.checks import every_check
    from attncheck.defects import DEFECTS
    from attncheck.report.pages import check_page, defect_page, mechanism_page
    from attncheck.shapes.catalogue import mechanisms

    for mechanism in mechanisms():
        if mechanism.id == name:
            return mechanism_page(mechanism, DEFECTS)
    for check in every_check():
        if check.id == name:
            return check_page(check, mechanisms())
    for defect in DEFECTS:
        if defect.id == name:
            return defect_page(defect)
    known = [*(m.id for m in mechanisms()), *(c.id for c in every_check()), *(d.id for d in DEFECTS)]
    raise UsageError(
        f"no mechanism, check or defect is called {name!r}{did_you_mean(name, known)} "
        "(attncheck list mechanisms, list checks and list defects show all)"
    )
