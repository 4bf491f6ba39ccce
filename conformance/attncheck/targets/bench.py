"""The bench: where a question is put to a target and facts are taken down. Judges nothing."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

# Taken before a target is imported: it may replace torch's own.
import torch
from torch import (
    Tensor,
    default_generator,
    enable_grad,
    equal,
    get_default_dtype,
    is_grad_enabled,
    nn,
    no_grad,
)
from torch.autograd import backward
from torch.nn.parameter import is_lazy
from torch.random import get_rng_state, manual_seed

from attncheck.model.recipe import Recipe
from attncheck.strategies.kept import Kept
from attncheck.strategies.tensors import DTYPES, digest, make
from attncheck.targets.adapter import Adapter
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.found import Configuration
from attncheck.targets.placing import UnplacedError
from attncheck.targets.scenarios import SCENARIOS

_CPU = torch.device("cpu")
# Numbers in the instances that are kept: 512 MiB of float64. Some targets cannot be built any smaller than they are.
_ROOM = 2**26


@dataclass
class Bench:
    """One adapter and the instances it has built so far."""

    adapter: Adapter
    built: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    made: Kept = field(default_factory=Kept)

    def perform(self, ask: Ask) -> Answer:
        """Put one question. Whatever the target raises becomes trouble, never an exception here."""
        stage = "constructor"
        try:
            built = self._instance(ask)
            stage = "weights"
            parameters = self._load(built, ask)
            stage = "forward"
            with _statistics_kept(built, ask):
                return self._answer(built, ask, parameters)
        except _BackwardError as error:
            return Answer(trouble=_trouble("backward", error.__cause__ or error))
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return Answer(trouble=_of_the_adapter(error) or _trouble(stage, error))

    def _instance(self, ask: Ask) -> Any:
        key = json.dumps([ask.names, ask.dtype, ask.device], sort_keys=True, default=str)
        if ask.fresh or key not in self.built:
            built = self.adapter.build(ask.names)
            if isinstance(built, nn.Module):
                built = built.to(device=ask.device, dtype=DTYPES[ask.dtype])
            if ask.fresh:
                return built
            self._keep(key, built)
        return self.built[key]

    def _keep(self, key: str, built: Any) -> None:
        """Keep an instance; those that were built first go when there is no more room."""
        self.built[key], self.sizes[key] = built, _size(built)
        while len(self.built) > 1 and sum(self.sizes[key] for key in self.built) > _ROOM:
            del self.built[next(iter(self.built))]

    def _load(self, built: Any, ask: Ask) -> dict[str, Tensor]:
        if isinstance(built, nn.Module):
            built.train(ask.train)
        elif isinstance(getattr(built, "training", None), bool):
            # Of what is no module, which may be frozen.
            with suppress(AttributeError):
                built.training = ask.train
        # They are copied into the target, so one tensor can serve many questions.
        parameters = {name: self.made.shared(r, ask.device) for name, r in ask.parameters.items()}
        with no_grad():
            self.adapter.load(built, parameters, ask.names)
        return parameters

    def _answer(self, built: Any, ask: Ask, parameters: Mapping[str, Tensor]) -> Answer:
        inputs = {n: self.made.own(r, ask.device) for n, r in ask.inputs.items()}
        before = {n: digest(t) for n, t in inputs.items()}
        for name in ask.gradients:
            if name in inputs:
                inputs[name].requires_grad_()
        wants_gradients = bool(ask.gradients)
        scenario = SCENARIOS[ask.scenario]
        _seed(ask.cotangent, ask.device)
        rng = get_rng_state()
        outside = _global_state()
        with enable_grad() if wants_gradients else no_grad():
            state = _global_state()
            results = dict(scenario(self.adapter, built, inputs, ask))
            changed = [name for name, value in _global_state().items() if value != state[name]]
        if changed:
            _restore(outside)
        facts: dict[str, object] = {
            "inputs": before,
            "device": str(results["out"].device),
            "mutated": [n for n, t in inputs.items() if digest(t) != before[n]],
            "aliased": _aliased(results, inputs),
            "rng_moved": not torch.equal(rng, get_rng_state()),
            "state_changed": changed,
        }
        facts |= {k: results.pop(k) for k in [k for k, v in results.items() if not isinstance(v, Tensor)]}
        tensors = {n: t.detach() for n, t in results.items()}
        if wants_gradients:
            tensors |= self._gradients(built, results, inputs, ask, facts, parameters)
        return Answer(tensors, facts)

    def _gradients(
        self,
        built: Any,
        results: Mapping[str, Tensor],
        inputs: Mapping[str, Tensor],
        ask: Ask,
        facts: dict[str, object],
        parameters: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Gradients of ⟨out, cotangent⟩ by name; a missing one is a fact, not zeros."""
        out = results["out"]
        cotangent = make(
            Recipe(tuple(out.shape), "normal", ask.cotangent, str(out.dtype).removeprefix("torch.")),
            ask.device,
        )
        if isinstance(built, nn.Module):
            built.zero_grad(set_to_none=True)
        try:
            backward(out, cotangent)
        except Exception as error:
            raise _BackwardError from error
        gradients: dict[str, Tensor | None] = {n: t.grad for n, t in inputs.items()}
        gradients |= self.adapter.parameter_gradients(built, parameters, ask.names)
        facts["no_gradient"] = [n for n in ask.gradients if gradients.get(n) is None]
        return {f"grad.{n}": g.detach() for n in ask.gradients if (g := gradients.get(n)) is not None}


def _size(built: Any) -> int:
    """Numbers in a module's parameters and buffers."""
    if not isinstance(built, nn.Module):
        return 0
    return sum(t.numel() for t in (*built.parameters(), *built.buffers()) if not is_lazy(t))


@contextmanager
def _statistics_kept(built: Any, ask: Ask) -> Iterator[None]:
    """What training moves is back afterwards: who loads no weights would hand it on to the next question."""
    moved = dict(built.named_buffers()) if ask.train and isinstance(built, nn.Module) else {}
    before = {name: buffer.clone() for name, buffer in moved.items() if not is_lazy(buffer)}
    try:
        yield
    finally:
        with no_grad():
            for name, values in before.items():
                # What did not move may be a view of fewer numbers, which cannot be written to.
                if moved[name].shape == values.shape and not equal(moved[name], values):
                    moved[name].copy_(values)


def _seed(seed: int, device: str) -> None:
    """Seed the generators that a call may use."""
    if device == "cpu":
        # torch's own function also queues a seed for every device that is absent, with a traceback
        # each: a fifth of a run's time, and of memory that is never freed.
        default_generator.manual_seed(seed)
    else:
        manual_seed(seed)


class _BackwardError(Exception):
    """The backward pass raised; the cause is what it raised."""


def _of_the_adapter(error: BaseException) -> Trouble | None:
    """That a configuration which was guessed at lacks a field, or that weights have no place, is no mistake of the target."""
    if isinstance(error, UnplacedError):
        return _trouble("adapter", error)
    if not isinstance(error, AttributeError) or not isinstance(error.obj, Configuration):
        return None
    message = (
        f"the target reads {error.name!r}, which the configuration it was given has not; write an adapter"
    )
    return Trouble("adapter", type(error).__name__, message)


def _trouble(stage: str, error: BaseException) -> Trouble:
    message = " ".join(str(error).split())
    return Trouble(stage, type(error).__name__, message if len(message) <= 400 else message[:397] + "…")


def _restore(state: Mapping[str, Any]) -> None:
    """Undo what a target changed, so that it costs one finding and not every later one."""
    torch.set_grad_enabled(state["grad mode"])
    torch.set_default_dtype(state["default dtype"])
    torch.set_default_device(None if state["default device"] == _CPU else state["default device"])
    if torch.are_deterministic_algorithms_enabled() != state["deterministic algorithms"]:
        # Not in every case: the first call imports the whole compiler, which takes a second.
        torch.use_deterministic_algorithms(state["deterministic algorithms"])


def _global_state() -> dict[str, object]:
    return {
        "grad mode": is_grad_enabled(),
        "default dtype": get_default_dtype(),
        "default device": torch.get_default_device(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


def _aliased(results: Mapping[str, object], inputs: Mapping[str, Tensor]) -> list[str]:
    storages = {t.untyped_storage().data_ptr() for t in inputs.values() if t.numel()}
    return [
        n for n, t in results.items()
        if isinstance(t, Tensor) and t.numel() and t.untyped_storage().data_ptr() in storages
    ]  # fmt: skip
