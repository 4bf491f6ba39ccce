"""Sizes at which a target is not what was found: refused ones, those without output layer, padded strides, least squeezes."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attncheck.strategies.sizes import Rules, value
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.layers import elements, learned_shapes
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.trying import agrees, attempt, built_at, case_for, subject_of
from attnref import Mechanism

Sizes = Mapping[str, int]
_STEPS = (2, 4, 8, 16, 32, 64)
_MOST = 80
_OUTPUT = "output.weight"
_SQUEEZE = "squeeze.weight"
_WIDTHS = ("head_dim", "v_dim", "model_dim", "query_size", "key_size", "value_size")
_SQUARE = "heads == 1 and v_dim == model_dim"
_ALONE = "heads == 1"
# Channels and reductions, of which one divides the other or does not.
_EVEN = ((12, 3), (8, 4), (10, 1))
_UNEVEN = ((7, 2), (11, 3), (10, 4))


def with_refusals(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with the rules on sizes that its constructor shows, if it refuses the first ones."""
    adapter = FoundAdapter(found, target)
    first = case_for(found, mechanism, {})
    if not found.is_class or first is None or built_at(adapter, first.names) is not None:
        return found
    subject = subject_of(found, mechanism)
    rules = rules_of(subject, default_options(subject))
    axes = tuple(a for a in rules.primary if a in subject.constructor_axes)
    accepted: list[Sizes] = []
    refused: list[Sizes] = []
    for sizes in itertools.islice(_probes(rules, axes), _MOST):
        names = {**first.options, **sizes}
        (refused if built_at(adapter, names) is None else accepted).append(sizes)
    return replace(found, refuses=rules_for(axes, accepted, refused)) if accepted else found


def _probes(rules: Rules, axes: tuple[str, ...]) -> Iterator[Sizes]:
    """Legal sizes in which one that is chosen is a multiple of a power of two, of another one perhaps."""
    for step, times in itertools.product(_STEPS, (1, 3)):
        wanted = [{axis: step * times} for axis in axes]
        wanted += [{a: step * times * n, b: n} for a, b in itertools.permutations(axes, 2) for n in (1, 3)]
        for plan in wanted:
            base = {axis: rules.base[axis] for axis in rules.primary}
            sizes = rules.complete({**base, **plan})
            if sizes is not None:
                yield sizes


def rules_for(axes: tuple[str, ...], accepted: Sequence[Sizes], refused: Sequence[Sizes]) -> tuple[str, ...]:
    """Conditions on these axes that hold for all that is accepted and for as little as can be of what is refused."""
    left, rules = list(refused), []
    candidates = [c for c in _candidates(axes) if all(value(c, s) for s in accepted)]
    while left and candidates:
        # Of equally telling ones the first, which is the weakest.
        best = max(candidates, key=lambda c: sum(not value(c, s) for s in left))
        remaining = [s for s in left if value(best, s)]
        if len(remaining) == len(left):
            break
        left = remaining
        rules.append(best)
    return tuple(rules)


def _candidates(axes: tuple[str, ...]) -> Iterator[str]:
    for step in _STEPS:
        yield from (f"{a} % {step} == 0" for a in axes)
        yield from (f"{a} % ({step} * {b}) == 0" for a, b in itertools.permutations(axes, 2))
        yield from (f"{a} >= {step}" for a in axes)
    yield from (f"{a} % {b} == 0" for a, b in itertools.permutations(axes, 2))


def with_vanishing_output(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with the sizes at which the target leaves out an output layer that would fit."""
    placed = [p for p in found.placements if p.roles == (_OUTPUT,)]
    axes = subject_of(found, mechanism).axes
    condition = _SQUARE if "v_dim" in axes else _ALONE
    if not placed or "heads" not in axes:
        return found
    # Where all widths are one, whatever has to differ for an output layer to be there does not.
    case = case_for(found, mechanism, {"heads": 1, **dict.fromkeys(_WIDTHS, 12)})
    if case is None or "heads" not in case.names or not value(condition, case.names):
        return found
    built = built_at(FoundAdapter(found, target), case.names)
    # One layer for each head is one of the first, too.
    name = placed[0].target.replace("{}", "0")
    if not isinstance(built, nn.Module) or name in dict(built.named_parameters(remove_duplicate=False)):
        return found
    return replace(found, unprojected=condition)


def with_least_reduced(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with the fewest maps that a squeeze leaves, where the target says so nowhere but in its shapes."""
    placed = [p for p in found.placements if p.roles == (_SQUEEZE,)]
    if not placed or "least_reduced" not in found.derived:
        return found
    # So few channels that nothing but the least is left of them.
    case = case_for(found, mechanism, {"channels": 1, "groups": 1, "reduction": 64})
    built = built_at(FoundAdapter(found, target), case.names) if case is not None else None
    if not isinstance(built, nn.Module):
        return found
    shape = learned_shapes(built).get(placed[0].target)
    if not shape:
        return found
    derived = {**found.derived, "least_reduced": str(shape[0])}
    if "reduction" in derived and _is_as_wide(found, target, mechanism, placed[0].target, shape[0]):
        # A width of its own, which no number of channels makes greater.
        derived["reduction"] = "channels + 1"
    return replace(found, derived=derived)


def with_rounding(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter without sizes at which a squeeze has other units than the reference's, if it rounds otherwise."""
    placed = [p.target for p in found.placements if p.roles[0].endswith(_SQUEEZE)]
    axes = subject_of(found, mechanism).constructor_axes
    channels = "out_channels" if "out_channels" in axes else "channels"
    if not placed or not {channels, "reduction"} <= {*axes} - {*found.derived} or "least_reduced" in axes:
        return found

    def fits(size: int, reduction: int) -> bool:
        case = case_for(found, mechanism, {channels: size, "reduction": reduction})
        built = built_at(FoundAdapter(found, target), case.names) if case is not None else None
        return isinstance(built, nn.Module) and (
            elements(learned_shapes(built).get(placed[0], ())) == size * (size // reduction)
        )

    if all(fits(*sizes) for sizes in _UNEVEN) or not all(fits(*sizes) for sizes in _EVEN):
        return found
    return replace(found, refuses=(*found.refuses, f"{channels} % reduction == 0"))


def with_strides(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter without strides beyond two, if the target pads a convolution by (stride - 1 + kernel - 1) // 2.

    Libraries do, timm among them. Of strides of one and two it makes nothing else; a greater one begins elsewhere.
    """
    if "stride" not in subject_of(found, mechanism).constructor_axes or "stride" in found.derived:
        return found
    even, odd = (case_for(found, mechanism, {"stride": stride}) for stride in (2, 3))
    if found.certainty != "verified" or even is None or odd is None:
        return found
    trial = attempt(found, target, odd)
    height, width = ((odd.sizes[side] + 1) // 3 + 1 for side in ("height", "width"))
    wider = (
        trial.ran and trial.results["out"].shape[-2:] == (height, width) != trial.expected["out"].shape[-2:]
    )
    if not wider or not agrees(attempt(found, target, even).gap):
        return found
    return replace(found, refuses=(*found.refuses, "stride <= 2"))


def _is_as_wide(found: Found, target: Any, mechanism: Mechanism, squeeze: str, least: int) -> bool:
    """Whether a squeeze leaves as many maps of very many channels."""
    case = case_for(found, mechanism, {"channels": 64 * (least + 1), "groups": 1})
    # Shapes alone: kernels over so many channels take gigabytes.
    with torch.device("meta"):
        built = built_at(FoundAdapter(found, target), case.names) if case is not None else None
    return isinstance(built, nn.Module) and learned_shapes(built).get(squeeze, (0,))[0] == least
