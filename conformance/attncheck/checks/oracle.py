"""The right answer to a question, from the reference."""

from dataclasses import replace
from functools import lru_cache

from attncheck.targets.ask import Answer, Ask
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject


@lru_cache(maxsize=256)
def _bench(subject: Subject) -> Bench:
    return Bench(subject.reference)


def expect(subject: Subject, ask: Ask) -> Answer:
    """What the reference answers. Raises AssertionError if the reference itself is in trouble."""
    return performed(subject, replace(ask, scenario="call"))


def performed(subject: Subject, ask: Ask) -> Answer:
    """The same in the way of calling that the question names."""
    answer = _bench(subject).perform(ask)
    assert answer.trouble is None, f"the reference of {subject.mechanism.id} cannot answer: {answer.trouble}"
    return answer


def in_float64(ask: Ask) -> Ask:
    """The same question with its low-precision values held in float64: the truth of that input."""

    def widened(name: str) -> dict[str, object]:
        recipes = getattr(ask, name)
        return {
            n: replace(r, rounded=r.dtype, dtype="float64") if r.dtype not in ("int64", "bool") else r
            for n, r in recipes.items()
        }

    return replace(ask, dtype="float64", inputs=widened("inputs"), parameters=widened("parameters"))  # type: ignore[arg-type]  # recipes
