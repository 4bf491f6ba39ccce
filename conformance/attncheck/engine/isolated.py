"""Executors whose target lives in a worker: whatever it does, the judge goes on."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attncheck.engine.child import Child, LostError, forked, spawned
from attncheck.engine.server import fork_server
from attncheck.engine.session import Limits, Session, TargetTroubleError
from attncheck.engine.wire import Frame
from attncheck.strategies.tensors import digest, make
from attncheck.targets.adapter import Adapter, Interface
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.normalising import Norm
from attncheck.targets.transforming import COMPILED

ASKS_A_FRAME = 128
LOSSES_IN_A_ROW = 3


class _Remote(Session):
    """Questions to an adapter that a worker has."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._interface: Interface | None = None
        self._refusal: Trouble | None = None

    @abstractmethod
    def _order(self) -> Mapping[str, object]:
        """How a worker comes by the adapter."""

    @property
    def interface(self) -> Interface:
        """What the adapter says of itself.

        Raises UsageError or NoAdapterError as its opener does, TargetTroubleError if it fails otherwise.
        """
        if self._interface is None:
            self._ready()
        assert self._interface is not None, "a loaded worker has told its interface"
        return self._interface

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        answers: list[Answer] = []
        while len(answers) < len(asks):
            rest = asks[len(answers) :]
            # One question is tried even then: what the next check asks may go well.
            if answers and self._losses >= LOSSES_IN_A_ROW:
                answers += [_not_asked(answers[-1])] * len(rest)
            else:
                answers += self._chunk(rest[: ASKS_A_FRAME if self._losses < LOSSES_IN_A_ROW else 1])
        if answers:
            answers[0] = _same_inputs(asks[0], answers[0])
        return answers

    def _chunk(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers to the first of these questions: to all, or up to the one that cost the worker."""
        try:
            child = self._ready()
        except TargetTroubleError as error:
            return [Answer(trouble=error.trouble)]
        answers: list[Answer] = []
        stage = "forward"
        try:
            child.send({"op": "put", "asks": [ask.to_json() for ask in asks]}, self.limits.seconds_per_call)
            while len(answers) < len(asks):
                frame = child.answer(self._patience(asks[len(answers)]))
                if "stage" in frame.header:
                    stage = str(frame.header["stage"])
                    continue
                answers.append(_answer(frame))
                stage = "forward"
                self._losses = 0
        except LostError as error:
            answers.append(Answer(trouble=self._lost(stage, error)))
        except BaseException:
            # Interrupted between question and answer: the next one would get this one's answer.
            self.close()
            raise
        return answers

    def _patience(self, ask: Ask) -> float:
        """The seconds to wait for an answer: what torch needs to compile is not the target's doing."""
        own = self.limits.seconds_per_call
        return own + self.limits.seconds_to_compile if ask.scenario in COMPILED else own

    def _ready(self) -> Child:
        """The worker, started if there is none, with the target in it."""
        if self._refusal is not None:
            raise TargetTroubleError(self._refusal)
        if self._child is None:
            child = self._child = self._start()
            try:
                header = self._final(child, self._order(), None)
            except TargetTroubleError as error:
                if not error.trouble.lost:
                    self._refusal = error.trouble
                raise
            self._interface = _interface(header["loaded"])
        return self._child


class Isolated(_Remote):
    """The target in a worker of the fork server, opened there by a function of attncheck.

    `opener` is `module:function`; with `arguments`, which are JSON, it gives the adapter.
    """

    def __init__(self, opener: str, arguments: Mapping[str, object], limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self._opener = opener
        self._arguments = arguments
        fork_server().start()

    def _start(self) -> Child:
        return spawned(fork_server(), self.limits.bytes_of_memory, self.limits.watched)

    def _order(self) -> Mapping[str, object]:
        return {"op": "load", "open": self._opener, "arguments": self._arguments}


class Forked(_Remote):
    """An object without an import path, in a fork of this process.

    A fork has only the thread that forked: a lock that another thread holds is never released there.
    So fork before threads compute, and expect "time limit" where that was not so. A process that has
    used CUDA cannot be forked; use `InProcess` there.
    """

    def __init__(self, adapter: Adapter, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self._adapter = adapter

    def _start(self) -> Child:
        return forked(self._adapter, fork_server(), self.limits.bytes_of_memory, self.limits.watched)

    def _order(self) -> Mapping[str, object]:
        return {"op": "load"}


def _answer(frame: Frame) -> Answer:
    facts: Any = frame.header.get("facts", {})
    trouble: Any = frame.header.get("trouble")
    return Answer(frame.tensors, facts, Trouble(**trouble) if trouble else None)


def _not_asked(last: Answer) -> Answer:
    assert last.trouble is not None, "the last of several losses is trouble"
    reason = (
        f"not asked: the last {LOSSES_IN_A_ROW} workers were lost, the last one so: {last.trouble.message}"
    )
    return Answer(trouble=replace(last.trouble, message=reason))


def _same_inputs(ask: Ask, answer: Answer) -> Answer:
    """The answer, unless the worker had other inputs than the judge makes from the same recipes."""
    if answer.trouble is not None:
        return answer
    expected = {name: digest(make(recipe)) for name, recipe in ask.inputs.items()}
    if answer.facts.get("inputs") == expected:
        return answer
    given = answer.facts.get("inputs")
    message = f"expected inputs with the checksums {expected}, the target's process had {given}"
    return Answer(facts=answer.facts, trouble=Trouble("forward", "inputs tampered", message))


def _interface(data: Mapping[str, Any]) -> Interface:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
    }
    for name in ("inputs", "varies"):
        fields[name] = {key: tuple(values) for key, values in data[name].items()}
    fields["norms"] = tuple(Norm(**{**n, "places": tuple(n["places"])}) for n in data["norms"])
    return Interface(**fields)
