"""The right answer to a question, from the reference."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import get_ident

from attncheck.strategies.kept import Kept
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject

# Numbers in answers that are kept, 16 MiB of them at most.
_ROOM = 2**21


@dataclass
class _Oracle:
    """A reference and what it has answered so far: many checks ask the same."""

    bench: Bench
    answers: dict[Hashable, Answer] = field(default_factory=dict)
    numbers: int = 0
    asked: int = 0

    def answer(self, ask: Ask) -> Answer:
        self.asked += 1
        key = _key(ask)
        if key not in self.answers:
            answer = self.bench.perform(ask)
            self.numbers += sum(t.numel() for t in answer.tensors.values())
            if self.numbers > _ROOM:
                self.answers.clear()
                self.numbers = 0
            self.answers[key] = answer
        return self.answers[key]


def _key(ask: Ask) -> Hashable:
    return tuple(tuple(v.items()) if isinstance(v, dict) else v for v in vars(ask).values())


@lru_cache(maxsize=16)
def _oracle(subject: Subject, thread: int) -> _Oracle:
    # One for each thread: an instance is loaded with weights and then called.
    return _Oracle(Bench(subject.reference))


def expect(subject: Subject, ask: Ask) -> Answer:
    """What the reference answers. Raises AssertionError if the reference itself is in trouble."""
    return performed(subject, replace(ask, scenario="call"))


def performed(subject: Subject, ask: Ask) -> Answer:
    """The same in the way of calling that the question names."""
    answer = _oracle(subject, get_ident()).answer(ask)
    assert answer.trouble is None, f"the reference of {subject.mechanism.id} cannot answer: {answer.trouble}"
    return answer


def attempted(subject: Subject, ask: Ask) -> Answer:
    """What the reference makes of a question that may be none for it: an answer, or trouble."""
    return _oracle(subject, get_ident()).answer(replace(ask, scenario="call"))


def asked_of(subject: Subject) -> int:
    """How often the reference of a subject was asked so far."""
    return _oracle(subject, get_ident()).asked


def keep_in(subject: Subject, made: Kept) -> None:
    """Let the reference of a subject use tensors that others use as well."""
    _oracle(subject, get_ident()).bench.made = made


def in_float64(ask: Ask) -> Ask:
    """The same question with its low-precision values held in float64: the truth of that input."""

    def widened(name: str) -> dict[str, object]:
        recipes = getattr(ask, name)
        return {
            n: replace(r, rounded=r.dtype, dtype="float64") if r.dtype not in ("int64", "bool") else r
            for n, r in recipes.items()
        }

    return replace(ask, dtype="float64", inputs=widened("inputs"), parameters=widened("parameters"))  # type: ignore[arg-type]  # recipes
