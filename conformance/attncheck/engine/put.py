"""How questions reach a target: in this process, or in one of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from attncheck.strategies.kept import Kept
from attncheck.targets.adapter import Adapter
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.bench import Bench


class Executor(Protocol):
    """Puts questions to one target. Trouble of the target is an answer, never an exception."""

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        """The answers, in order."""

    def close(self) -> None:
        """Let go of processes; no question may follow."""


@dataclass
class InProcess:
    """The target lives in the judge's own process: for self-tests and objects without a path."""

    adapter: Adapter
    made: Kept = field(default_factory=Kept)

    def __post_init__(self) -> None:
        self._bench = Bench(self.adapter, made=self.made)

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        return [self._bench.perform(ask) for ask in asks]

    def close(self) -> None:
        self._bench.built.clear()
