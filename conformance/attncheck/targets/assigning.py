"""Which tensor of a target is which of the reference: the assignments to try, and how certain the likeliest is."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from attncheck.model.case import Case
from attncheck.targets.adapter import feature_sizes, parameter_shapes
from attncheck.targets.found import Found
from attncheck.targets.grouping import of_one_head, plainly_placed
from attncheck.targets.hypotheses import Guess
from attncheck.targets.layers import Shape, first_of_two_outputs
from attncheck.targets.normalising import Norm, arrangements
from attncheck.targets.placing import Placement
from attncheck.targets.plans import Plan
from attncheck.targets.probing import acts_its_roles, idle_in, stands_apart
from attncheck.targets.search import Search
from attnref import Mechanism

# Assignments that are probed by changes.
_PROBED = 60


def assigned(search: Search, own: Mapping[str, Shape], base: Found, case: Case) -> tuple[Found, list[Guess]]:
    """Assignments of a target's tensors, with the adapter that says how many heads of keys and values there are."""
    heads = case.sizes.get("heads")
    reference = parameter_shapes(search.mechanism, {**case.names, **base.fixed})
    possible = search.guesses(own, reference, heads) if own else [_nothing(reference)]
    if possible or not heads:
        return base, possible
    of_one = of_one_head(reference, heads)
    possible = plainly_placed(search.guesses(own, of_one, heads)) if of_one else []
    return (replace(base, shared="1") if possible else base), possible


def assigned_in_part(
    search: Search, own: Mapping[str, Shape], placed: list[Found], case: Case, seek_idle: bool
) -> tuple[list[Found], list[Guess]]:
    """Assignments without the tensors that are never used, or without the first of two output layers."""

    def left_out() -> Iterator[tuple[str, tuple[str, ...]]]:
        if seek_idle:
            yield "idle", idle_in(placed[0], search.target, case)
        yield "neutral", first_of_two_outputs(own)

    for field, left in left_out():
        used = {name: shape for name, shape in own.items() if name not in left}
        base, possible = assigned(search, used, placed[0], case) if left and used else (placed[0], [])
        if possible:
            parts: dict[str, Any] = {field: left, "shared": base.shared}
            return [replace(each, **parts) for each in placed], possible
    return placed, []


def around(
    plan: Plan, base: Found, case: Case, mechanism: Mechanism
) -> list[tuple[tuple[Norm, ...], tuple[Placement, ...]]]:
    """Where the target's norms may stand: nowhere, if it has none."""
    if not plan.inside:
        return [((), ())]
    return list(arrangements(plan.inside, feature_sizes(mechanism, base.inputs, case.names)))


def _nothing(reference: Mapping[str, object]) -> Guess:
    return Guess((), tuple(reference), (), 0.0, named=not reference)


def guessed(base: Found, possible: list[Guess]) -> Found:
    """The adapter with the first assignment, as certain as names make it."""
    guess = possible[0]
    return replace(
        base, placements=guess.placements, absent=guess.absent, identity=guess.identity,
        certainty="named" if told(possible) else "guessed",
    )  # fmt: skip


def told(possible: list[Guess]) -> bool:
    """Whether names say which tensor is which, and of those that say nothing every assignment says the same."""
    first = possible[0]
    roles = {p.target: p.roles for p in first.placements if p.target in first.untold}
    others = [p for guess in possible for p in guess.placements if p.target in roles]
    return first.named or (bool(roles) and all(p.roles == roles[p.target] for p in others))


def settled(base: Found, target: Any, case: Case, possible: list[Guess]) -> Found:
    """The likeliest assignment: named, or the one whose tensors act as their roles must."""
    names_tell = told(possible)
    if names_tell and not base.norms:
        return guessed(base, possible)
    # What layers are called stands; with norms, whether they act so is seen as well.
    for guess in possible[: 1 if names_tell else _PROBED]:
        found = replace(base, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        if acts_its_roles(found, target, case):
            return replace(found, certainty="probed")
    if base.norms:
        # It may stand where the reference has no place for one, between heads and output say.
        return replace(guessed(base, possible), certainty="guessed")
    if stands_apart(possible):
        return replace(guessed(base, possible), certainty="placed")
    return guessed(base, possible)
