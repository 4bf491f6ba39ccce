"""The suite from Python: judge a target and get its report."""

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from attncheck.engine.events import Listener
from attncheck.engine.request import Budget, Request
from attncheck.model.report import Report
from attncheck.model.verdict import Family


class RunOptions(TypedDict, total=False):
    """What `run` takes besides target and mechanism: the other fields of a Request."""

    init: Mapping[str, str]
    adapter: str | None
    device: str
    dtypes: tuple[str, ...]
    checks: tuple[str, ...]
    skip: tuple[str, ...]
    families: tuple[Family, ...]
    budget: Budget
    seed: int | None
    expect: Mapping[str, str]
    strict: bool
    known: str | None
    isolate: bool
    explain: bool
    world: int
    seconds_per_call: float
    bytes_of_memory: int


def run(
    target: str | object,
    mechanism: str | None = None,
    *,
    listeners: Sequence[Listener] = (),
    **options: Unpack[RunOptions],
) -> Report:
    """Judge a target: an import path, a `file.py:Name`, or a class or function itself.

    Raises: UsageError if the request makes no sense, NoAdapterError if nobody knows how to call
    the target.
    """
    from attncheck.engine.run import run as judge

    return judge(Request(target, mechanism, **options), listeners)
