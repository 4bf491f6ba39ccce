"""The state of a search for an adapter: what was tried, how long it may take, and what to say if nothing works."""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from attncheck.strategies.sizes import BASE
from attncheck.targets.adapter import build_reference, constructor_axes, signature_of
from attncheck.targets.documentation import documented
from attncheck.targets.found import Found
from attncheck.targets.hypotheses import Guess, guesses
from attncheck.targets.layers import Shape
from attncheck.targets.layouts import kind_of
from attncheck.targets.making import is_constructor
from attncheck.targets.waiting import kept_waiting
from attnref import Mechanism

Progress = Callable[[str], None]


# Of computing, so that a busy machine finds what an idle one finds, and of waiting for one that sleeps.
SECONDS = 20.0
WAITING = 60.0
COMPARISONS = 3000
# Assignments of weights that are compared in one way to call.
GUESSES = 400
PLAUSIBLE = 24


@dataclass
class Search:
    """What has been tried so far, for the message if nothing works.

    With `fewer_axes` inputs come without the axis of heads or of samples: what is wrong along one is right without it,
    so that is for targets alone that take no more. With `square` maps are as high as wide, for those that return
    nothing else, and `refuses` are rules for those that return nothing where sizes break them.
    """

    target: Any
    mechanism: Mechanism
    progress: Progress
    dtype: str = "float64"
    fewer_axes: bool = False
    square: bool = False
    refuses: tuple[str, ...] = ()
    started: float = field(default_factory=time.thread_time)
    started_waiting: float = field(default_factory=lambda: time.monotonic() - kept_waiting())
    built: int = 0
    called: int = 0
    ran: int = 0
    compared: int = 0
    last_error: str = ""
    constructor_error: str = ""
    plausible: int = 0
    least_repeated: int | None = None
    least_built: Mapping[str, str] = field(default_factory=dict)
    best: tuple[float, Found] | None = None
    guessed: dict[str, list[Guess]] = field(default_factory=dict)

    def anew(self) -> "Search":
        """The same search before anything was tried."""
        return Search(self.target, self.mechanism, self.progress)

    @property
    def spent(self) -> float:
        """The share of its computing seconds that the search has used."""
        return (time.thread_time() - self.started) / SECONDS

    @property
    def late(self) -> bool:
        """Whether the search has taken its time, or has seen enough that runs but does not agree."""
        return (
            self.spent > 1
            or time.monotonic() - kept_waiting() - self.started_waiting > WAITING
            or self.compared > COMPARISONS
            or self.plausible > PLAUSIBLE
        )

    @cached_property
    def said(self) -> str:
        """The layout that the target says it takes, as an option of the convention; "" if it says none."""
        headed = kind_of(signature_of(self.mechanism)["out"].axes) == "headed"
        return documented(self.target, None, headed).get("layout", ("", ""))[0]

    def guesses(
        self, own: Mapping[str, Shape], reference: Mapping[str, Shape], heads: int | None
    ) -> list[Guess]:
        """Assignments of weights, made once for all ways to call what is built alike."""
        key = repr((own, reference, heads))
        if key not in self.guessed:
            self.guessed[key] = guesses(own, reference, heads)
        return self.guessed[key]

    def keep(self, rank: float, found: Found) -> None:
        """Remember the most likely guess that could not be verified."""
        if self.best is None or rank < self.best[0]:
            self.best = (rank, found)


def explanation(search: Search) -> str:
    """What was tried, what would help, and the adapter a person can write."""
    name = getattr(search.target, "__name__", str(search.target))
    lines = [f"could not find out how to build and call {name} as {search.mechanism.id}"]
    if search.constructor_error and not search.called:
        lines.append(
            f"  no way to construct it worked ({search.built} tried); the last: {search.constructor_error}"
        )
    elif search.last_error:
        lines.append(f"  {search.called} ways to call it were tried; the last: {search.last_error}")
    lines += [
        "",
        "say how it is constructed, for example:",
        f"  {_init_hint(search)}",
        "",
        "or write an adapter (--adapter my_adapter.py:Adapter):",
    ]
    return "\n".join([*lines, *(f"  {line}" for line in _template(search, name))])


def _init_hint(search: Search) -> str:
    names = (
        [p.name for p in inspect.signature(search.target).parameters.values() if p.default is p.empty]
        if is_constructor(search.target)
        else []
    )
    axes = constructor_axes(search.mechanism) or ("model_dim",)
    pairs = [f"--init {n}={axes[i % len(axes)]}" for i, n in enumerate(names)] or [f"--init dim={axes[0]}"]
    return " ".join(pairs)


def _template(search: Search, name: str) -> list[str]:
    inputs = [t.name for t in signature_of(search.mechanism).inputs if not t.optional]
    sizes = ", ".join(constructor_axes(search.mechanism))
    parameters = list(parameter_shapes_hint(search.mechanism))
    return [
        f"from your_module import {name}",
        "",
        "class Adapter:",
        f'    mechanism = "{search.mechanism.id}"',
        f"    def build(self, {sizes + ', ' if sizes else ''}**_):",
        f"        return {name}({sizes})",
        "    def load(self, module, weights):",
        f"        ...  # weights has {', '.join(parameters[:4])}{', …' if len(parameters) > 4 else ''}",
        f"    def call(self, module, {', '.join(inputs)}, **_):",
        f"        return module({', '.join(inputs)})",
    ]


def parameter_shapes_hint(mechanism: Mechanism) -> list[str]:
    """Names of the reference's parameters."""
    if mechanism.module is None:
        return []
    known = inspect.signature(mechanism.module).parameters
    try:
        with torch.device("meta"):
            return [
                n
                for n, _ in build_reference(
                    mechanism, {a: BASE[a] for a in BASE if a in known}
                ).named_parameters()
            ]
    except ValueError:
        return []
