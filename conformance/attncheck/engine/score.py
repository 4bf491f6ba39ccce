"""What a self-test gives: what became of every mistake, and what was said of what is right."""

from dataclasses import dataclass

from attncheck.engine.request import Budget
from attncheck.model.verdict import Family


@dataclass(frozen=True)
class Trial:
    """What became of one defect under one seed: the checks that found it, the first one only if hurried.

    `cases` were judged and `seconds` of computing went by until then. `broke` are checks that raised,
    `put` those that judged a case, each with whether it asked the reference.
    """

    defect: str
    seed: int
    killed_by: tuple[tuple[str, Family], ...]
    cases: int
    seconds: float
    broke: tuple[str, ...] = ()
    put: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True)
class Accusation:
    """A finding about something that is right."""

    name: str
    mechanism: str
    seed: int
    check: str
    evidence: str


@dataclass(frozen=True)
class Acquittal:
    """How something that is right was judged: cases, computing seconds, and what was held against it."""

    name: str
    mechanism: str
    seed: int
    cases: int
    seconds: float
    accusations: tuple[Accusation, ...] = ()


@dataclass(frozen=True)
class Score:
    """The whole self-test; `exhaustive` if every check was put to every mistake.

    `seconds` are those of the clock, zero if a part was done before.
    """

    budget: Budget
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...] = ()
    right: tuple[Acquittal, ...] = ()
    seconds: float = 0.0
    exhaustive: bool = False

    @property
    def survivors(self) -> tuple[Trial, ...]:
        """Defects that no check found under some seed."""
        return tuple(trial for trial in self.trials if not trial.killed_by)

    @property
    def accusations(self) -> tuple[Accusation, ...]:
        """Everything that was said against what is right."""
        return tuple(accusation for item in self.right for accusation in item.accusations)

    @property
    def broke(self) -> tuple[str, ...]:
        """Checks that raised on some mistake: a mistake of the suite."""
        return tuple(sorted({check for trial in self.trials for check in trial.broke}))

    @property
    def referred(self) -> dict[str, bool]:
        """Checks that judged some mistake, each with whether it ever asked the reference."""
        asked: dict[str, bool] = {}
        for check, one in (pair for trial in self.trials for pair in trial.put):
            asked[check] = asked.get(check, False) or one
        return asked

    @property
    def passed(self) -> bool:
        """Every mistake was found, nothing right was accused, and no check broke."""
        return not self.survivors and not self.accusations and not self.broke
