"""One trial again with its questions and answers kept: what a reproducer has to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from attncheck.checks.check import Check, Mismatch
from attncheck.checks.oracle import expect
from attncheck.engine.put import Executor
from attncheck.engine.tracing import traced
from attncheck.model.case import Case
from attncheck.model.recipe import Recipe
from attncheck.model.verdict import Family
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.subject import Subject

REFERENCE_FAMILIES: tuple[Family, ...] = ("value", "gradient")


@dataclass
class Recording:
    """The questions in order, what the check made of the answers, and trouble with the place of its question.

    Answers are traced by the names `out0`, `again0`, `weights1`, `grad_q0`, …; `known` are
    tensors that go by a name.
    """

    asks: list[Ask] = field(default_factory=list)
    known: dict[str, Tensor] = field(default_factory=dict)
    mismatch: Mismatch | None = None
    trouble: Trouble | None = None
    troubled: int = 0


def recorded(check: Check, subject: Subject, case: Case, executor: Executor) -> Recording:
    """The trial of a case, up to its judgement or to the first trouble that it does not judge."""
    recording = Recording()
    trial = check.judge(subject, case)
    try:
        asks = next(trial)
        while True:
            answers = executor.put(asks)
            first = len(recording.asks)
            recording.asks += asks
            for place, answer in enumerate(answers, first):
                if answer.trouble is not None and recording.trouble is None:
                    recording.trouble, recording.troubled = answer.trouble, place
            if recording.trouble and not check.judges_trouble:
                return recording
            asks = trial.send(_traced(check, subject, recording, first, asks, answers))
    except StopIteration as stop:
        recording.mismatch = stop.value if isinstance(stop.value, Mismatch) else None
    return recording


def _traced(
    check: Check,
    subject: Subject,
    recording: Recording,
    first: int,
    asks: Sequence[Ask],
    answers: Sequence[Answer],
) -> list[Answer]:
    given = []
    for index, (ask, answer) in enumerate(zip(asks, answers, strict=True), first):
        known = recording.known
        known |= {variable(n, r, index): make(r) for n, r in ask.inputs.items()}
        if check.family in REFERENCE_FAMILIES and not answer.trouble:
            expected = expect(subject, ask).tensors
            known |= {f"expected_{_name(n)}{index}": t for n, t in expected.items()}
        tensors = {n: traced(t, f"{_name(n)}{index}", known) for n, t in answer.tensors.items()}
        given.append(replace(answer, tensors=tensors))
    return given


def variable(name: str, recipe: Recipe, index: int) -> str:
    """What a script calls an input of the question with that index."""
    return f"{name}{index}" if recipe.edits or recipe.layout != "contiguous" else name


def _name(output: str) -> str:
    return output.replace(".", "_")
