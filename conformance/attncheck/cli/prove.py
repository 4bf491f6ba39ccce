"""`attncheck prove`: the shape contract of a target for all sizes, not for some."""

import importlib.util

import click

from attncheck.cli.options import init_option, mechanism_option
from attncheck.model.errors import UsageError

_CODES = {"proved": 0, "refuted": 1, "open": 3}


@click.command("prove", short_help="Prove the shapes of a target for all sizes.")
@click.argument("target", metavar="TARGET")
@mechanism_option
@init_option
@click.option(
    "--time-limit",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="For the whole proof.",
)
def command(target: str, mechanism: str | None, init: tuple[tuple[str, str], ...], seconds: float) -> None:
    """Say for which sizes TARGET keeps its mechanism's shapes: for all, or all but which.

    TARGET is package.module:Name, path/to/file.py:Name, or the id of a mechanism for its reference.

    \b
    attncheck prove torch.nn:MultiheadAttention
    attncheck prove criss_cross

    Exit codes: 0 proved, 1 refuted, 2 wrong usage, 3 open or no adapter found.
    """
    if importlib.util.find_spec("z3") is None:
        raise UsageError("a proof needs z3; install it with: pip install 'attncheck[proof]'")
    from attncheck.engine.server import fork_server

    fork_server().start_early()
    from attncheck.engine.opening import open_target
    from attncheck.engine.proving import prove_mechanism, prove_target
    from attncheck.engine.request import Request
    from attncheck.engine.session import TargetTroubleError
    from attncheck.shapes.catalogue import BY_ID

    if target in BY_ID:
        proof = prove_mechanism(target, seconds)
    else:
        request = Request(target, mechanism, dict(init))
        try:
            opened = open_target(request)
        except TargetTroubleError as error:
            click.echo(f"attncheck: {target} cannot be imported: {error.trouble}", err=True)
            raise SystemExit(1) from None
        opened.executor.close()
        proof = prove_target(request, opened, seconds)
    click.echo(proof.text)
    raise SystemExit(_CODES[proof.status])
