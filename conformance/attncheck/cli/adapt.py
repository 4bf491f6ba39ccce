"""`attncheck adapt`: the adapter that was found, as a file to read and correct."""

import click

from attncheck.cli.options import init_option, mechanism_option


@click.command("adapt", short_help="The adapter that was found, as a file to read and correct.")
@click.argument("target", metavar="TARGET")
@mechanism_option
@init_option
def command(target: str, mechanism: str | None, init: tuple[tuple[str, str], ...]) -> None:
    """Print how TARGET is built, loaded and called, as Python that `attncheck run --adapter` takes.

    \b
    attncheck adapt torch.nn:MultiheadAttention > adapter.py
    attncheck run torch.nn:MultiheadAttention --adapter adapter.py:Adapter

    Exit codes: 0 found, 1 the target cannot be imported, 2 wrong usage, 3 no adapter found.
    """
    from attncheck.engine.opening import open_target
    from attncheck.engine.request import Request
    from attncheck.engine.session import TargetTroubleError
    from attncheck.targets.rendering import rendered

    try:
        opened = open_target(Request(target, mechanism, dict(init)))
    except TargetTroubleError as error:
        click.echo(f"attncheck: {target} cannot be imported: {error.trouble}", err=True)
        raise SystemExit(1) from None
    opened.executor.close()
    assert opened.found is not None, "a target named by a path is found, not told"
    click.echo(rendered(opened.found, target), nl=False)
    if opened.found.certainty != "verified":
        click.echo(f"# {opened.found.notes[-1]}; correct what is wrong above")
