"""Trying a guess: build, load and call a target once, and compare it with the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Case, Scalar
from attncheck.strategies.tensors import DTYPES, make
from attncheck.strategies.tolerance import RIGHT, difference
from attncheck.targets.adapter import Interface, Reference
from attncheck.targets.ask import Ask
from attncheck.targets.bench import Bench
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.normalising import Norm
from attncheck.targets.subject import Subject
from attnref import Mechanism

# Sizes to try a guess at: pairwise different first, then such as pickier targets accept, at last square maps.
SIZE_SETS: tuple[Mapping[str, int], ...] = (
    {},
    {
        "model_dim": 32,
        "heads": 4,
        "head_dim": 8,
        "channels": 32,
        "out_channels": 48,
        "reduction": 4,
        "query_size": 24,
        "key_size": 40,
    },
    {
        "model_dim": 64,
        "heads": 8,
        "head_dim": 16,
        "channels": 64,
        "out_channels": 128,
        "reduction": 16,
        "reduced": 16,
    },
    {"channels": 128, "height": 8, "width": 8, "tokens": 16},
    {"height": 7, "width": 7, "channels": 32},
)
# Other sizes, to see that a guess was not right by luck.
_SECOND = {"batch": 3, "heads": 2, "q_len": 4, "kv_len": 6, "head_dim": 5, "v_dim": 7, "model_dim": 10, "query_size": 11,
           "key_size": 9, "value_size": 14, "channels": 16, "out_channels": 20, "height": 6, "width": 4, "length": 8,
           "tokens": 4, "kernel": 5, "gate_kernel": 7, "reduction": 4, "stride": 2}  # fmt: skip


@dataclass(frozen=True)
class Try:
    """What one call at some sizes showed. `gap` is infinite if shapes differ or it raised."""

    ran: bool
    gap: float
    error: str = ""
    stage: str = ""
    results: Mapping[str, Tensor] = field(default_factory=dict)
    expected: Mapping[str, Tensor] = field(default_factory=dict)
    raw: Any = None


def subject_of(found: Found, mechanism: Mechanism) -> Subject:
    """The subject that a guess makes of its target."""
    return Subject(mechanism, FoundAdapter(found, None).interface)


def case_for(found: Found, mechanism: Mechanism, changes: Mapping[str, int], **fields: Any) -> Case | None:
    """A case of a guess: the base sizes with some changed; None if no such sizes are legal."""
    subject = subject_of(found, mechanism)
    # With every bias there is: a weight that is only there at times has its place too.
    biases = {
        o.name: True for o in mechanism.contract.options if o.name.endswith("bias") and o.name in found.takes
    }
    options: dict[str, Scalar] = {**default_options(subject), **biases, **fields.pop("options", {})}
    rules = rules_of(subject, options)
    sizes = rules.complete({a: changes.get(a, rules.base[a]) for a in rules.primary})
    return (
        None
        if sizes is None
        else Case(sizes, options, seed=fields.pop("seed", 11), dtype=found.dtype, **fields)
    )


def first_case(found: Found, mechanism: Mechanism, **fields: Any) -> Case | None:
    """A case at the first sizes that are legal; the ones the guess was found at come first."""
    for sizes in SIZE_SETS:
        case = case_for(found, mechanism, sizes, **dict(fields))
        if case is not None:
            return case
    return None


def second_sizes(changes: Mapping[str, int], free: Sequence[str] = ()) -> Mapping[str, int]:
    """Sizes for the second look at a guess that was found at `changes`, some axes of which are free."""
    if not changes:
        # The heads together need not be as wide as the model.
        return {**_SECOND, "head_dim": 3} if "head_dim" in free else _SECOND
    return {
        **changes,
        "batch": 3,
        "q_len": 4,
        "kv_len": 6,
        "height": changes.get("height", 6),
        "width": changes.get("width", 4),
    }


def attempt(found: Found, target: Any, case: Case, *, built: Any = None, load: bool = True) -> Try:
    """Call the target for a case and compare with the reference."""
    mechanism = FoundAdapter(found, target).mechanism
    subject = subject_of(found, mechanism)
    ask = subject.ask(case)
    adapter = FoundAdapter(found, target)
    stage = "constructor"
    try:
        instance = built if built is not None else instance_of(adapter, ask)
        parameters = {n: make(r) for n, r in ask.parameters.items()}
        inputs = {n: make(r) for n, r in ask.inputs.items()}
        with torch.no_grad():
            stage = "weights"
            if load:
                adapter.load(instance, parameters, ask.names)
            stage = "forward"
            results = adapter.call(instance, inputs, ask.options)
    except (Exception, SystemExit) as error:
        return Try(
            False, float("inf"), f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", stage
        )
    expected = expected_of(subject, ask)
    return Try(True, gap_between(results["out"], expected["out"]), results=results, expected=expected)


def runs(found: Found, target: Any) -> bool:
    """Whether a call at some sizes returns."""
    mechanism = FoundAdapter(found, target).mechanism
    cases = [case_for(found, mechanism, sizes) for sizes in SIZE_SETS]
    return any(case is not None and attempt(found, target, case).ran for case in cases)


class Comparison:
    """Compares guesses at a target's weights with variants of the reference, computed once."""

    def __init__(
        self,
        target: Any,
        case: Case,
        variants: Sequence[Mapping[str, Scalar]],
        train: bool = False,
    ) -> None:
        self._target, self._case, self._variants, self._train = target, case, variants, train
        self._expected: dict[object, list[Tensor]] = {}
        self._built: Any = None

    def agreeing(self, found: Found) -> list[Mapping[str, Scalar]]:
        """The variants that the target agrees with if its weights are placed so."""
        subject = subject_of(found, FoundAdapter(found, None).mechanism)
        ask = subject.ask(self._case)
        out = self._output(found, ask)
        if out is None:
            return []
        expected = self._of_variants(found, subject)
        return [v for v, e in zip(self._variants, expected, strict=True) if agrees(gap_between(out, e))]

    def _output(self, found: Found, ask: Ask) -> Tensor | None:
        adapter = FoundAdapter(found, self._target)
        try:
            if self._built is None:
                self._built = instance_of(adapter, ask)
            if self._train:
                self._built.train()
            with torch.no_grad():
                adapter.load(self._built, {n: make(r) for n, r in ask.parameters.items()}, ask.names)
                return adapter.call(self._built, {n: make(r) for n, r in ask.inputs.items()}, ask.options)[
                    "out"
                ]
        except (Exception, SystemExit):
            return None

    def _of_variants(self, found: Found, subject: Subject) -> list[Tensor]:
        key = (found.absent, found.identity, found.norms)
        if key not in self._expected:
            self._expected[key] = [
                expected_of(subject, self._with_options(subject, variant))["out"]
                for variant in self._variants
            ]
        return self._expected[key]

    def _with_options(self, subject: Subject, variant: Mapping[str, Scalar]) -> Ask:
        """The question under other options; its tensors are the same."""
        ask = subject.ask(self._case)
        options = {**ask.options, **variant}
        return replace(ask, names={**ask.names, **variant}, options=options, train=self._train)


def instance_of(adapter: FoundAdapter, ask: Ask) -> Any:
    """A new instance in eval mode and in the question's dtype."""
    built = adapter.build(ask.names)
    return built.to(DTYPES[ask.dtype]).eval() if isinstance(built, nn.Module) else built


def built_at(adapter: FoundAdapter, names: Mapping[str, Any]) -> Any:
    """An instance at some sizes, or None if its constructor raises; the global generator stays as it was."""
    state = torch.get_rng_state()
    try:
        built = adapter.build(names)
        if isinstance(built, nn.Module):
            adapter.materialise(built, names)
        return built
    except (Exception, SystemExit):
        return None
    finally:
        torch.set_rng_state(state)


def gap_between(actual: Tensor, expected: Tensor) -> float:
    """The relative error, infinite for different shapes."""
    if actual.shape != expected.shape:
        return float("inf")
    return difference(actual, expected).gap


def agrees(gap: float, dtype: str = "float64") -> bool:
    """Whether a gap is small enough to say that a guess is right."""
    return gap <= (RIGHT if dtype == "float64" else 1e-4)


@lru_cache(maxsize=64)
def _reference_bench(
    mechanism: Mechanism, inputs: tuple[tuple[str, tuple[str, ...]], ...], norms: tuple[Norm, ...]
) -> Bench:
    return Bench(Reference(mechanism, like=Interface(mechanism.id, dict(inputs), norms=norms)))


def expected_of(subject: Subject, ask: Ask) -> Mapping[str, Tensor]:
    """What the reference answers; nothing if it cannot."""
    interface = subject.interface
    bench = _reference_bench(subject.mechanism, tuple(interface.inputs.items()), interface.norms)
    return bench.perform(ask).tensors or {"out": torch.full((0,), float("nan"))}
