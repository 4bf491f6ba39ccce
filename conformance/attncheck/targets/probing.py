"""Which weight is which in a target that differs from the reference: by what its weights do."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Case
from attncheck.targets.adapter import parameter_shapes
from attncheck.targets.ask import Ask
from attncheck.targets.bench import Bench
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.hypotheses import Guess
from attncheck.targets.layers import Shape, squeezed
from attncheck.targets.trying import built_at, first_case, subject_of
from attnref import Mechanism

_SAME = 1e-7


def acts_its_roles(found: Found, target: Any, case: Case) -> bool:
    """Whether keys, values and output of an assignment act as such, mistakes elsewhere aside.

    Softmax ignores what all keys share, so a bias on the keys does nothing; the output moves
    linearly with the values; and a row of the output layer moves one feature of the output.
    """
    adapter = FoundAdapter(found, target)
    ask = subject_of(found, adapter.mechanism).ask(case)
    if not {"query.weight", "key.weight", "value.weight"} <= set(ask.parameters):
        return False
    bench = Bench(adapter)
    base = _out(bench, ask)
    if base is None:
        return False
    return (
        _key_bias_is_idle(bench, ask, base, found)
        and _values_are_linear(bench, ask, base)
        and _query_matters(bench, ask, base)
    )


def idle_in(found: Found, target: Any, case: Case) -> tuple[str, ...]:
    """Parameters of the target that have no say in what it returns for a case."""
    adapter = FoundAdapter(found, target)
    ask = subject_of(found, adapter.mechanism).ask(case)
    answer = Bench(adapter).perform(replace(ask, parameters={}, scenario="weighed"))
    return tuple(answer.facts.get("idle", ()))  # type: ignore[arg-type]  # a list of names


def _out(bench: Bench, ask: Ask) -> Tensor | None:
    answer = bench.perform(ask)
    return None if answer.trouble is not None else answer.out


def _moved(bench: Bench, ask: Ask, base: Tensor) -> float:
    out = _out(bench, ask)
    if out is None or out.shape != base.shape:
        return float("inf")
    return float((out - base).abs().max() / base.abs().max().clamp_min(1e-6))


def _key_bias_is_idle(bench: Bench, ask: Ask, base: Tensor, found: Found) -> bool:
    if found.norms and "key.bias" in found.absent:
        # No feature stays one through a norm.
        return True
    if "key.bias" in ask.parameters and "key.bias" not in found.absent:
        return _moved(bench, ask.edit("key.bias", "renew", None, 77), base) < _SAME
    # Without a bias, a feature that is one everywhere turns a column of the weight into one.
    constant = ask
    for name, recipe in ask.inputs.items():
        if recipe.kind == "normal":
            constant = constant.edit(name, "put", len(recipe.shape) - 1, (0, 1.0))
    level = _out(bench, constant)
    return (
        level is not None
        and _moved(bench, constant.edit("key.weight", "renew_at", 1, (0, 78)), level) < _SAME
    )


def _values_are_linear(bench: Bench, ask: Ask, base: Tensor) -> bool:
    none = _out(bench, _scaled(ask, 0.0))
    twice = _out(bench, _scaled(ask, 2.0))
    if none is None or twice is None or none.shape != base.shape or twice.shape != base.shape:
        return False
    gap = (twice - (2 * base - none)).abs().max()
    moved = (base - none).abs().max()
    return bool(gap <= 1e-6 * base.abs().max().clamp_min(1e-6)) and bool(moved > 1e-3 * base.abs().max())


def _scaled(ask: Ask, factor: float) -> Ask:
    for name in ("value.weight", "value.bias"):
        if name in ask.parameters:
            ask = ask.edit(name, "scale", None, factor)
    return ask


def _query_matters(bench: Bench, ask: Ask, base: Tensor) -> bool:
    """The query moves the output, and not along a line, which tells it from a second value."""
    doubled = _out(bench, ask.edit("query.weight", "scale", None, 2.0))
    none = _out(bench, ask.edit("query.weight", "scale", None, 0.0))
    if doubled is None or none is None or doubled.shape != base.shape or none.shape != base.shape:
        return False
    gap = (doubled - (2 * base - none)).abs().max()
    return bool(gap > 1e-4 * base.abs().max())


def stands_apart(possible: list[Guess]) -> bool:
    """Whether shapes and order alone leave no doubt between the likeliest assignment and the next."""
    roles = {role for guess in possible for placement in guess.placements for role in placement.roles}
    if any(role.startswith(("query", "key")) for role in roles):
        return len(possible) == 1
    return len(possible) == 1 or possible[1].cost - possible[0].cost >= 0.25


def all_told(possible: list[Guess], tried: int) -> bool:
    """Whether these are all assignments there are, every one tried, with a tensor for each of the reference's weights."""
    return 0 < len(possible) <= tried and not any(guess.identity for guess in possible)


def with_lacking(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter of an unverified target, with what it lacks if several layers are one and the same."""
    if found.certainty == "verified" or found.lacking or found.identity or not found.is_class:
        return found
    if any(axis in found.derived for axis in ("kernel", "channels", "hidden", "model_dim", "query_size")):
        # How large its weights are is the target's own choice, and was only guessed.
        return found
    case = first_case(found, mechanism)
    built = built_at(FoundAdapter(found, target), case.names) if case is not None else None
    if case is None or not isinstance(built, nn.Module):
        return found
    # Each tensor once, under however many names it is registered.
    own = {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}
    reference = parameter_shapes(mechanism, {**case.names, **found.fixed})
    lacking = lacking_parameters(own, reference, case.sizes.get("heads", 1))
    return replace(found, lacking=lacking or doubled_parameters(own, reference))


def lacking_parameters(
    own: Mapping[str, tuple[int, ...]], reference: Mapping[str, tuple[int, ...]], heads: int
) -> str:
    """What a target lacks whose weights are too few to be the reference's, however they are arranged."""
    have = sum(torch.Size(shape).numel() for shape in own.values())
    weights = {n: torch.Size(s).numel() for n, s in reference.items() if not _is_beside(n)}
    projections = [weights.get(f"{role}.weight", 0) for role in ("query", "key", "value")]
    # An output layer may be left out, and one head of keys and values may serve all of queries.
    needed = (
        projections[0] + sum(projections[1:]) // heads
        if all(projections)
        else min(weights.values(), default=0)
    )
    if have >= needed:
        return ""
    return f"{have} numbers are registered as parameters, where at least {needed} must be"


def doubled_parameters(own: Mapping[str, Shape], reference: Mapping[str, Shape]) -> str:
    """What a target has several times, if it is every weight of the reference: one of each serves all places."""
    mine, theirs = (
        Counter(squeezed(shape) for name, shape in shapes.items() if not _is_beside(name))
        for shapes in (own, reference)
    )
    times = {mine[shape] / count for shape, count in theirs.items()}
    if mine.keys() != theirs.keys() or len(times) != 1 or min(times) not in (2, 3, 4):
        return ""
    return f"every weight is registered {min(times):.0f} times, each under a name of its own, where one serves all"


def _is_beside(name: str) -> bool:
    return name.endswith("bias") or "running" in name


def separates_samples(found: Found, target: Any, case: Case) -> bool:
    """Whether a sample's output stays where it is when another sample changes: a sign of the right layout."""
    adapter = FoundAdapter(found, target)
    subject = subject_of(found, adapter.mechanism)
    ask = subject.ask(case)
    other = ask
    for name, place in subject.places(ask, "batch"):
        if name in subject.inputs:
            other = other.edit(name, "renew_at", place, (1, 5))
    bench = Bench(adapter)
    before, after = bench.perform(replace(ask, parameters={})), bench.perform(replace(other, parameters={}))
    if before.trouble or after.trouble or before.out.shape != after.out.shape or not before.out.dim():
        return False
    return bool(torch.allclose(before.out[:1], after.out[:1]))
