"""A defect: a known mistake as a mutant of a reference, whose steps it replaces."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import nn

from attncheck.model.case import Scalar
from attncheck.model.verdict import Family
from attncheck.targets.adapter import Reference, arguments

# A step is a method of a plain implementation; a mistake is another body for it.
Steps = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Mistake:
    """What can go wrong in any mechanism that has these steps."""

    name: str
    sentence: str
    cites: tuple[str, ...]
    shows: str
    family: Family
    steps: Steps
    needs: str = ""


@dataclass(frozen=True)
class Defect:
    """A known mistake of one mechanism.

    `sentence` says what is wrong and what is right; it serves as advice. `cites` are entries of
    the errata or public issues. `shows` is the condition on sizes and options under which a
    result can be wrong, "always" if there is none. `family` is that of the checks that see it.
    `steps` are the methods of the plain implementation that it replaces. `needs` is the option
    of the command line without which it counts as a convention or a deviation.
    """

    id: str
    mechanism: str
    sentence: str
    cites: tuple[str, ...]
    shows: str
    family: Family
    steps: Steps = field(repr=False, compare=False)
    needs: str = ""


def made_in(mechanism: str, mistakes: Iterable[Mistake]) -> tuple[Defect, ...]:
    """The mistakes as defects of one mechanism."""
    return tuple(
        Defect(f"{mechanism}.{m.name}", mechanism, m.sentence, m.cites, m.shows, m.family, m.steps, m.needs)
        for m in mistakes
    )


@dataclass(frozen=True)
class Mutant(Reference):
    """A plain implementation of a mechanism with some steps replaced, called as its reference is.

    `plain` is a module that takes what the reference's takes, or, for a mechanism without
    parameters, a class whose `forward` is the function.
    """

    plain: type[Any] = nn.Module
    steps: Steps = field(default_factory=dict)

    @property
    def target(self) -> Any:
        """What a person would hand over to be judged: the class, or the function."""
        return self._changed().forward if self.mechanism.module is None else self._changed

    @cached_property
    def _changed(self) -> type[Any]:
        return type(self.plain.__name__, (self.plain,), dict(self.steps))

    def build(self, names: Mapping[str, Scalar]) -> Any:
        if self.mechanism.module is None:
            return self.target
        # A mistake in the constructor may hide its arguments, so the plain one says what it takes.
        known = arguments(self.plain)  # type: ignore[arg-type]  # mypy: type[Any] is no Hashable
        return self.target(**{k: v for k, v in names.items() if k in known})


def merged(defects: Iterable[Defect]) -> Steps | None:
    """The steps of several defects at once, None if two of them replace the same one."""
    steps: dict[str, Callable[..., Any]] = {}
    for defect in defects:
        if steps.keys() & defect.steps.keys():
            return None
        steps |= defect.steps
    return steps
