"""Weights that have another place where sizes coincide, as where one packed layer serves equal widths."""

from dataclasses import replace

from torch import nn

from attncheck.strategies.tensors import DTYPES
from attncheck.targets.adapter import parameter_shapes
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.hypotheses import guesses
from attncheck.targets.layers import learned_shapes
from attncheck.targets.plans import Plan
from attncheck.targets.search import GUESSES, Search
from attncheck.targets.trying import agrees, attempt, built_at, case_for


def with_coincidences(found: Found, search: Search, plan: Plan) -> Found:
    """Placements for sizes that coincide: some targets pack their weights only then."""
    if not found.free:
        return found
    equal = replace(found, free=())
    case = case_for(equal, search.mechanism, plan.sizes)
    built = built_at(FoundAdapter(equal, search.target), case.names) if case is not None else None
    if not isinstance(built, nn.Module) or case is None:
        return found
    built = built.to(DTYPES[case.dtype]).eval()
    own = learned_shapes(built)
    if set(own) == set(plan.own):
        return found
    reference = parameter_shapes(search.mechanism, {**case.names, **found.fixed})
    for guess in guesses(own, reference, case.sizes.get("heads"))[:GUESSES]:
        tried = replace(equal, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        if guess.absent == found.absent and agrees(attempt(tried, search.target, case, built=built).gap):
            return replace(found, others=(guess.placements,))
    return found
