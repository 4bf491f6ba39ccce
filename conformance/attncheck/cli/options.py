"""The options of `attncheck run`, and the request that they make."""

import functools
from collections.abc import Callable
from typing import Any

import click

from attncheck.engine.request import BUDGETS, Request
from attncheck.model.errors import UsageError
from attncheck.model.verdict import FAMILIES

_DTYPES = ("float64", "float32", "bfloat16", "float16")
_DEFAULTS = Request("")


class Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "pair"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002  # click's own signature
    ) -> tuple[str, str]:
        name, equals, setting = str(value).partition("=")
        if not equals or not name:
            option = param.opts[0] if param else "option"
            raise UsageError(f"{option} {value}: expected NAME=VALUE, such as {_EXAMPLE[option]}")
        return name.strip(), setting.strip()


_EXAMPLE = {"--init": "--init d_model=model_dim", "--expect": "--expect mask_polarity=true_attends"}

mechanism_option = click.option(
    "--mechanism",
    "-m",
    metavar="ID",
    help="What it should be (attncheck list mechanisms).  [default: told by its name and code]",
)
init_option = click.option(
    "--init",
    metavar="NAME=VALUE",
    type=Pair(),
    multiple=True,
    help="A constructor argument: an axis, a number or a text.  [repeatable; default: found out]",
)

_UNDERSTANDING = (
    mechanism_option,
    init_option,
    click.option(
        "--adapter", metavar="FILE.py:NAME", help="An adapter written by hand.  [default: found out]"
    ),
    click.option(
        "--expect",
        metavar="CONVENTION=OPTION",
        type=Pair(),
        multiple=True,
        help="Any other option is a finding (attncheck list conventions).  [repeatable; default: detected]",
    ),
    click.option(
        "--known",
        metavar="FILE",
        help="Findings that are known, with reasons; they do not count.  [default: none]",
    ),
    click.option(
        "--update-known",
        is_flag=True,
        help="Write the findings of this run into the file of --known.  [default: off]",
    ),
    click.option(
        "--strict",
        is_flag=True,
        help="Documented variants are findings too.  [default: they deviate, exit 0]",
    ),
)

_EXTENT = (
    click.option(
        "--budget",
        type=click.Choice(BUDGETS),
        default=_DEFAULTS.budget,
        show_default=True,
        help="How many cases, and how long.",
    ),
    click.option(
        "--seed",
        metavar="N",
        type=click.IntRange(0),
        help="Repeat the run of that seed.  [default: a fresh one, printed]",
    ),
    click.option(
        "--check",
        "checks",
        metavar="ID",
        multiple=True,
        help="Only this check (attncheck list checks).  [repeatable; default: all]",
    ),
    click.option("--skip", metavar="ID", multiple=True, help="Not this check.  [repeatable; default: none]"),
    click.option(
        "--family",
        "families",
        type=click.Choice(FAMILIES),
        multiple=True,
        help="Only this family of checks.  [repeatable; default: all]",
    ),
    click.option(
        "--device",
        metavar="D",
        default=_DEFAULTS.device,
        show_default=True,
        help="Where the target computes: cpu, cuda, cuda:1.",
    ),
    click.option(
        "--dtype",
        "dtypes",
        type=click.Choice(_DTYPES),
        multiple=True,
        help="A dtype that the target supports.  [repeatable; default: all]",
    ),
)

_LIMITS = (
    click.option(
        "--world",
        metavar="N",
        type=click.IntRange(1),
        default=_DEFAULTS.world,
        show_default=True,
        help="How many processes compute one answer together (torch.distributed).",
    ),
    click.option(
        "--isolate/--no-isolate",
        default=_DEFAULTS.isolate,
        show_default=True,
        help="Whether the target runs in a process of its own.",
    ),
    click.option(
        "--explain/--no-explain",
        default=_DEFAULTS.explain,
        show_default=True,
        help="Whether findings are shrunk, named and reproduced.",
    ),
    click.option(
        "--time-limit",
        "seconds_per_call",
        metavar="SECONDS",
        type=click.FloatRange(0, min_open=True),
        default=_DEFAULTS.seconds_per_call,
        show_default=True,
        help="For one call of the target.",
    ),
    click.option(
        "--memory-limit",
        "gibibytes",
        metavar="GIB",
        type=click.FloatRange(0, min_open=True),
        default=_DEFAULTS.bytes_of_memory / 2**30,
        show_default=True,
        help="For the target's process.",
    ),
)

_OUTPUT = (
    click.option("--report", metavar="FILE.jsonl", help="Write the report, line by line.  [default: none]"),
    click.option("--junit", metavar="FILE.xml", help="Write JUnit XML.  [default: none]"),
    click.option("--html", metavar="FILE.html", help="Write a page that stands alone.  [default: none]"),
    click.option("--markdown", metavar="FILE.md", help="Write a summary as Markdown.  [default: none]"),
    click.option("--quiet", "-q", is_flag=True, help="One line a target.  [default: off]"),
    click.option(
        "--verbose", "-v", is_flag=True, help="Every check with its claim and cases.  [default: off]"
    ),
)

_OF_OUTPUT = ("report", "junit", "html", "markdown", "quiet", "verbose", "update_known")


def run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run; it gets a maker of requests and the options of output."""

    @functools.wraps(function)
    def called(targets: tuple[str, ...], **given: Any) -> None:
        output = {name: given.pop(name) for name in _OF_OUTPUT}
        if output["quiet"] and output["verbose"]:
            raise UsageError("--quiet and --verbose contradict each other; leave one out")
        if output.pop("update_known"):
            if given["known"] is None:
                raise UsageError("--update-known: say which file it writes by --known FILE")
            # What is listed counts in this run, or it would go unseen; and the run can be repeated.
            output["update_known"], given["known"] = given["known"], None
            given["seed"] = given["seed"] or 0
        function(targets=targets, make_request=functools.partial(_request, given=given), **output)

    for option in reversed((*_UNDERSTANDING, *_EXTENT, *_LIMITS, *_OUTPUT)):
        called = option(called)
    return called


def _request(target: str, given: dict[str, Any]) -> Request:
    fields = dict(given)
    fields["init"], fields["expect"] = dict(fields["init"]), dict(fields["expect"])
    fields["bytes_of_memory"] = int(fields.pop("gibibytes") * 2**30)
    return Request(target, **fields)
