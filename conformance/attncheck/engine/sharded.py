"""An executor whose target computes in several processes at once: started, asked together, added up."""

import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from attncheck.engine.child import Child, spawned
from attncheck.engine.isolated import LOSSES_IN_A_ROW, _Remote, _same_inputs
from attncheck.engine.server import fork_server
from attncheck.engine.session import Limits
from attncheck.strategies.sizes import value
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import Interface
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.sharding import SHARDED

# How long the other ranks have once one has raised: they may be waiting for it in vain.
_GRACE_SECONDS = 1.0
# What a rank says that was left waiting by another.
_WAITED = ("timed out", "timeout", "connection", "peer")
# A rank that we ended: whether it hung or waited, the others' words tell.
_SILENT = Answer(trouble=Trouble("forward", "time limit", "no answer, and the others gave up", lost=True))


class _Rank(_Remote):
    """One process of the target."""

    def __init__(self, arguments: Mapping[str, object], limits: Limits) -> None:
        super().__init__(limits)
        self.arguments = dict(arguments)

    @property
    def pid(self) -> int | None:
        """Its process, if there is one."""
        return None if self._child is None else self._child.pid

    def one(self, ask: Ask) -> Answer:
        """The answer to one question, which the other ranks must be asked as well."""
        return self._chunk([ask])[0]

    def _start(self) -> Child:
        return spawned(fork_server(), self.limits.bytes_of_memory, self.limits.watched)

    def _order(self) -> Mapping[str, object]:
        return {"op": "load", "open": "attncheck.targets.sharding:open_rank", "arguments": self.arguments}


def _interface_of(rank: _Rank) -> Interface:
    return rank.interface


class Sharded:
    """Puts every question to all ranks; their answers add up to the target's."""

    def __init__(self, target: str, mechanism: str, world: int, limits: Limits) -> None:
        fork_server().start()
        self.world = world
        self._rules: tuple[str, ...] = ()
        self._losses = 0
        # Waits of the target's own end before ours do, so that who hangs can be told from who waits.
        arguments = {
            "target": target,
            "mechanism": mechanism,
            "world": world,
            "device": limits.device,
            "seconds": limits.seconds_per_call / 2,
        }
        self._ranks = [_Rank({**arguments, "rank": rank}, limits) for rank in range(world)]
        self._pool = ThreadPoolExecutor(world)
        self._folder = tempfile.TemporaryDirectory(prefix="attncheck-")
        self._meetings = 0

    @property
    def interface(self) -> Interface:
        """What the target's ranks say of themselves. Raises as `Isolated.interface` does."""
        self._gather()
        told = list(self._pool.map(_interface_of, self._ranks))
        return replace(told[0], refuses=(*told[0].refuses, *self._rules))

    def learn(self, rules: tuple[str, ...]) -> None:
        """Do not ask at sizes that break these rules."""
        self._rules = rules

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        answers = [self._answer(ask) for ask in asks]
        if answers and answers[0].trouble is None:
            answers[0] = _same_inputs(asks[0], answers[0])
        return answers

    def close(self) -> None:
        for rank in self._ranks:
            rank.close()
        self._pool.shutdown()
        self._folder.cleanup()

    def ranks(self, ask: Ask) -> list[Answer]:
        """What every rank has to say."""
        self._gather()
        asked = [self._pool.submit(rank.one, ask) for rank in self._ranks]
        first, _ = wait(asked, return_when=FIRST_COMPLETED)
        while len(first) < self.world and not any(future.result().trouble for future in first):
            done, _ = wait([f for f in asked if f not in first], return_when=FIRST_COMPLETED)
            first |= done
        silent = self._end_of(asked)
        answers = [future.result() for future in asked]
        answers = [_SILENT if rank in silent else answer for rank, answer in enumerate(answers)]
        if any(answer.trouble for answer in answers):
            # The others may be one message ahead or behind: nothing they say now can be trusted.
            for rank in self._ranks:
                rank.close()
        return answers

    def _end_of(self, asked: list[Future[Answer]]) -> set[int]:
        """End the ranks that do not answer after another was in trouble."""
        _, waiting = wait(asked, timeout=_GRACE_SECONDS if any(_troubled(f) for f in asked) else None)
        silent = {rank for rank, future in enumerate(asked) if future in waiting}
        for rank in silent:
            pid = self._ranks[rank].pid
            if pid is not None:
                # Not `close`: another thread is reading from it.
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        wait(asked)
        return silent

    def _gather(self) -> None:
        """A new meeting if any rank has no process: they can only join all together."""
        if all(rank.pid is not None for rank in self._ranks):
            return
        self._meetings += 1
        for rank in self._ranks:
            rank.close()
            rank.arguments["meeting"] = str(Path(self._folder.name) / str(self._meetings))

    def _answer(self, ask: Ask) -> Answer:
        reason = self._refusal(ask)
        if reason:
            return Answer(trouble=Trouble("refused", "refused", reason))
        if self._losses >= LOSSES_IN_A_ROW:
            reason = f"not asked: processes were lost {LOSSES_IN_A_ROW} times in a row"
            return Answer(trouble=Trouble("forward", "lost", reason, lost=True))
        answers = self.ranks(ask)
        troubles = [(rank, a.trouble) for rank, a in enumerate(answers) if a.trouble is not None]
        self._losses = self._losses + 1 if any(t.lost for _, t in troubles) else 0
        if troubles:
            rank, trouble = min(troubles, key=lambda pair: _blame(pair[1]))
            return Answer(trouble=replace(trouble, message=f"rank {rank} of {self.world}: {trouble.message}"))
        return Answer(_sums([a.tensors for a in answers]), _merged([a.facts for a in answers]))

    def _refusal(self, ask: Ask) -> str:
        """Why a question cannot be dealt out, or is one that the target refuses."""
        if any(recipe.layout != "contiguous" for recipe in ask.inputs.values()):
            return "shards are handed over in memory of their own"
        sizes = _sizes(ask)
        if any(sizes.get(axis, self.world) < self.world for axis in SHARDED) and not self._whole:
            return f"fewer than {self.world} rows: some rank would get none"
        if ask.options.get("causal") and sizes.get("q_len") != sizes.get("kv_len"):
            return "queries and keys of different numbers have no common causal order over shards"
        broken = [rule for rule in self._rules if not value(rule, sizes)]
        return f"the target refuses sizes without {broken[0]}" if broken else ""

    @property
    def _whole(self) -> bool:
        return "kv_len" not in self._ranks[0].interface.derived


def _troubled(future: Future[Answer]) -> bool:
    return future.done() and future.result().trouble is not None


def _blame(trouble: Trouble) -> int:
    """Who died comes before who raised, who raised before who hung, and who waited comes last."""
    if trouble.kind == "time limit":
        return 2
    if trouble.lost:
        return 0
    return 3 if any(word in trouble.message.lower() for word in _WAITED) else 1


def _sizes(ask: Ask) -> dict[str, int]:
    """Sizes of the axes that shards and heads have, as the edited inputs have them."""
    names = ("batch", "heads", "q_len", "head_dim"), ("batch", "heads", "kv_len", "head_dim")
    shapes = [make(ask.inputs[name]).shape for name in ("q", "k") if name in ask.inputs]
    pairs = [dict(zip(axes, s, strict=True)) for axes, s in zip(names, shapes, strict=False) if len(s) == 4]
    return {axis: size for sizes in pairs for axis, size in sizes.items()}


def _sums(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    names = dict.fromkeys(name for part in parts for name in part)
    sums = {}
    for name in names:
        first, *others = [part[name] for part in parts if name in part]
        for other in others:
            first = first + other
        sums[name] = first
    return sums


def _merged(facts: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """One rank's bad manners are the target's."""
    merged = dict(facts[0])
    for other in facts[1:]:
        for name, fact in other.items():
            mine = merged.get(name, fact)
            if isinstance(mine, list) and isinstance(fact, list):
                merged[name] = sorted({*mine, *fact}, key=str)
            elif isinstance(mine, bool):
                merged[name] = mine or fact
    # A gradient that one rank has is there.
    missing = [set(f["no_gradient"]) for f in facts if "no_gradient" in f]  # type: ignore[call-overload]  # names
    return {**merged, "no_gradient": sorted(set.intersection(*missing))} if missing else merged
