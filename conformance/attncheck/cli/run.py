"""`attncheck run`: judge targets."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from attncheck.cli.listing import judgeable
from attncheck.cli.options import run_options
from attncheck.engine.events import Listener
from attncheck.engine.request import Request
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.model.report import Report

# Of several targets the gravest outcome counts: wrong usage, findings, not judged, conforms.
_GRAVEST_FIRST = (2, 1, 3, 0)

_EXAMPLES = """Judge TARGETs: package.module:Name, or path/to/file.py:Name.

\b
Examples:
  attncheck run torch.nn:MultiheadAttention
  attncheck run my_file.py                           what could be judged in it
  attncheck run my_file.py:CrossAttention --mechanism cross
  attncheck run my_file.py:Attn --init d_model=model_dim --budget quick
  attncheck run torch.nn:MultiheadAttention --check ignores_key_order --seed 7
  attncheck run a.py:A b.py:B --report r.jsonl --junit r.xml --markdown summary.md

The exit code is the gravest of all targets: 2, then 1, then 3, then 0.
"""


@click.command("run", short_help="Judge targets.", help=_EXAMPLES)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@run_options
def command(
    targets: tuple[str, ...],
    make_request: Callable[[str], Request],
    update_known: str | None = None,
    **output: Any,
) -> None:
    _require_folder("--known", update_known)
    with _outputs(**output) as (listeners, reports):
        codes = [_one(target, make_request, listeners, reports) for target in targets]
    if update_known is not None:
        codes = [_updated(update_known, reports), *(code for code in codes if code > 1)]
    raise SystemExit(next(code for code in _GRAVEST_FIRST if code in codes))


def _one(
    target: str, make_request: Callable[[str], Request], listeners: Sequence[Listener], reports: list[Report]
) -> int:
    """Judge one target; what is wrong with it does not keep the others from being judged."""
    try:
        if target.endswith(".py") and ":" not in target:
            for line in judgeable(target):
                click.echo(line)
            return 3
        from attncheck.engine.server import fork_server

        fork_server().start_early()
        from attncheck.engine.run import run

        report = run(make_request(target), listeners)
    except UsageError as error:
        click.echo(f"attncheck: {error}", err=True)
        return 2
    except NoAdapterError as error:
        click.echo(f"attncheck: {error}", err=True)
        return 3
    reports.append(report)
    return report.exit_code


def _updated(path: str, reports: Sequence[Report]) -> int:
    """Write the findings into the file; 1 if a reason is still to be written."""
    from attncheck.engine.known_deviations import UNSAID, update_known

    entries = update_known(path, reports)
    unsaid = sum(entry["reason"] == UNSAID for entry in entries)
    click.echo(f"{path}: {len(entries)} known, {unsaid} of them without a reason")
    return 1 if unsaid else 0


@contextlib.contextmanager
def _outputs(
    report: str | None, junit: str | None, html: str | None, markdown: str | None, quiet: bool, verbose: bool
) -> Iterator[tuple[list[Listener], list[Report]]]:
    """The listeners of a run; the files that need whole reports are written at the end."""
    from attncheck.report.console import Console, Terminal
    from attncheck.report.jsonl import JsonLines
    from attncheck.report.progress import ProgressBar

    for option, path in (
        ("--report", report),
        ("--junit", junit),
        ("--html", html),
        ("--markdown", markdown),
    ):
        _require_folder(option, path)
    terminal = Terminal()
    bar = ProgressBar(terminal)
    claims = _claims() if verbose else None
    listeners: list[Listener] = [bar, Console(terminal, saved=report, quiet=quiet, claims=claims)]
    reports: list[Report] = []
    with contextlib.ExitStack() as stack:
        stack.callback(bar.close)
        if report:
            listeners.insert(0, JsonLines(stack.enter_context(Path(report).open("w", encoding="utf-8"))))
        yield listeners, reports
        if junit:
            from attncheck.report.junit import write

            write(reports, junit)
        if html:
            from attncheck.report.html import write_page

            write_page(reports, Path(html))
        if markdown:
            from attncheck.report.markdown import markdown as as_markdown

            Path(markdown).write_text(as_markdown(reports), encoding="utf-8")


def _require_folder(option: str, path: str | None) -> None:
    if path is None:
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: the folder {folder} does not exist; make it first")
    if Path(path).is_dir():
        raise UsageError(f"{option} {path}: expected a file, got a folder")


def _claims() -> dict[str, str]:
    from attncheck.checks import CHECKS

    return {check.id: check.claim for check in CHECKS}
