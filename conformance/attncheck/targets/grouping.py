"""Heads of keys and values that each serve several heads of queries: multi-query and grouped-query attention."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attncheck.targets.adapter import MEMORY
from attncheck.targets.found import Found
from attncheck.targets.hypotheses import Guess
from attncheck.targets.layers import Shape
from attncheck.targets.names import KV_HEADS
from attncheck.targets.placing import Placement
from attncheck.targets.trying import attempt, case_for
from attnref import Mechanism

# Two groups where heads are even: of one alone, no order of the groups could be wrong.
GROUPS = "2 - heads % 2"


def of_one_head(reference: Mapping[str, Shape], heads: int) -> dict[str, Shape]:
    """The reference's tensors as a target has them whose heads share one of keys and values; empty if none can."""
    if heads < 2 or not {"query.weight", "key.weight", "value.weight"} <= set(reference):
        return {}
    return {n: (s[0] // heads, *s[1:]) if n.startswith(MEMORY) else s for n, s in reference.items()}


def plainly_placed(possible: Sequence[Guess]) -> list[Guess]:
    """Assignments in which no pattern cuts what is shared into heads that it lacks."""
    made = (replace(guess, placements=tuple(map(_behind, guess.placements))) for guess in possible)
    return [
        guess
        for guess in made
        if all(
            p.pattern in ("", "cat") for p in guess.placements if any(r.startswith(MEMORY) for r in p.roles)
        )
    ]


def _behind(placement: Placement) -> Placement:
    """All of one tensor behind all of the other is the same for any number of heads."""
    order = placement.pattern.partition("-> ")[2]
    return replace(placement, pattern="cat") if order in ("(r h d) i", "(r h d)") else placement


def with_groups(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with fewer heads of keys and values than of queries, where the constructor lets one choose.

    With as many of both, the target is right; what it then gives for fewer is for the judge to say.
    """
    argument = next(
        (n for n, text in found.arguments.items() if n.lower() in KV_HEADS and text == "heads"), ""
    )
    apart = all(len(p.roles) == 1 and not p.pattern for p in found.placements)
    if not argument or not apart or found.certainty != "verified":
        return found
    trial = replace(found, arguments={**found.arguments, argument: GROUPS}, shared=GROUPS)
    case = case_for(trial, mechanism, {"heads": 4, "model_dim": 32, "head_dim": 8})
    return trial if case is not None and attempt(trial, target, case).ran else found
