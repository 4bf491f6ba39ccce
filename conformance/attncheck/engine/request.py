"""A request: everything a person can ask of one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from attncheck.model.verdict import Family

Budget = Literal["quick", "default", "deep"]
BUDGETS: tuple[Budget, ...] = ("quick", "default", "deep")


@dataclass(frozen=True)
class Request:
    """One target and how to judge it. `seed` None means: a fresh one, which is printed.

    `world` is the number of processes that compute one answer together.
    """

    target: str | object
    mechanism: str | None = None
    init: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    device: str = "cpu"
    dtypes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()
    budget: Budget = "default"
    seed: int | None = None
    expect: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    known: str | None = None
    isolate: bool = True
    explain: bool = True
    world: int = 1
    seconds_per_call: float = 10.0
    bytes_of_memory: int = 4 << 30
