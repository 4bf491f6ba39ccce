"""`attncheck shapes`: the shapes of a mechanism, symbolic or with numbers."""

import click

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.model.nearest import did_you_mean

_WORDS: dict[str, Scalar] = {"true": True, "false": False, "none": None}


@click.command("shapes", short_help="The shapes of a mechanism, symbolic or with numbers.")
@click.argument("mechanism", metavar="MECHANISM")
@click.argument("sizes", metavar="[AXIS=SIZE]...", nargs=-1)
def command(mechanism: str, sizes: tuple[str, ...]) -> None:
    """The shapes of MECHANISM's inputs, parameters and outputs.

    Sizes that are not given follow from others where they can, and stay symbolic where not.

    \b
    attncheck shapes multi_head
    attncheck shapes multi_head batch=2 q_len=5 kv_len=7 model_dim=12 heads=3
    """
    from attncheck.report.pages import shapes_page
    from attncheck.shapes.catalogue import BY_ID

    if mechanism not in BY_ID:
        raise UsageError(
            f"unknown mechanism {mechanism!r}{did_you_mean(mechanism, BY_ID)} "
            f"(attncheck list mechanisms shows all {len(BY_ID)})"
        )
    for line in shapes_page(BY_ID[mechanism], dict(map(_size, sizes))):
        click.echo(line)


def _size(text: str) -> tuple[str, Scalar]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"expected AXIS=SIZE such as batch=2, got {text!r}")
    if value.lower() in _WORDS:
        return name, _WORDS[value.lower()]
    return name, int(value) if value.lstrip("-").isdecimal() else value
