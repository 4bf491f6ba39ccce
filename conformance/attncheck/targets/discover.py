"""Finding an adapter: guesses at constructor, call and weights, tried until one agrees with the reference."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attncheck.model.case import Case
from attncheck.model.errors import NoAdapterError
from attncheck.targets.adapter import parameter_shapes, signature_of
from attncheck.targets.assigning import around, assigned, assigned_in_part, guessed, settled, told
from attncheck.targets.calling import Calling, callings
from attncheck.targets.choosing import with_choices
from attncheck.targets.coinciding import with_coincidences
from attncheck.targets.features import with_features
from attncheck.targets.found import Found
from attncheck.targets.grouping import with_groups
from attncheck.targets.hypotheses import Guess
from attncheck.targets.layers import statistics
from attncheck.targets.layouts import LAYOUT_OPTIONS
from attncheck.targets.limits import (
    with_least_reduced,
    with_refusals,
    with_rounding,
    with_strides,
    with_vanishing_output,
)
from attncheck.targets.plans import Plan, called_as, plans
from attncheck.targets.probing import (
    all_told,
    lacking_parameters,
    separates_samples,
    with_lacking,
)
from attncheck.targets.reparametrising import TAKE_OFF, reparametrised
from attncheck.targets.results import results
from attncheck.targets.search import GUESSES, Progress, Search, explanation
from attncheck.targets.stages import EVENLY_SHRUNK
from attncheck.targets.tapping import function_of
from attncheck.targets.trying import (
    Comparison,
    agrees,
    attempt,
    case_for,
    second_sizes,
    subject_of,
)
from attncheck.targets.unmasking import attends, unmasked
from attncheck.targets.widening import with_inputs_left_out, with_named_inputs
from attnref import Mechanism

# Axes of what is attended to.
_SEEN = ("kv_len", "tokens")
# A way to build and call that is less likely than this is not tried with masks, nor told what it lacks.
_FAR = 2.0

# Of a search's seconds, what the assignments for one way to build the target may take.
_SHARE = 0.2

# What is raised for want of a name is raised in every dtype.
_NO_DTYPE = ("AttributeError", "NameError", "ImportError", "ModuleNotFoundError", "NotImplementedError")


def discover(
    target: Any,
    mechanism: Mechanism,
    *,
    init: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
) -> Found:
    """Find out how `target` is built and called as `mechanism`. Raises NoAdapterError with what was tried."""
    found, search = _tried(Search(target, mechanism, progress), init or {})
    if found is None:
        raise NoAdapterError(explanation(search))
    computed = reparametrised(found, target, mechanism) if found.certainty != "verified" else []
    if computed:
        raise NoAdapterError(
            f"the weights of {', '.join(computed)} are computed anew in each call; {TAKE_OFF}"
        )
    found = with_least_reduced(with_lacking(found, target, mechanism), target, mechanism)
    found = with_rounding(with_refusals(found, target, mechanism), target, mechanism)
    found = with_strides(with_vanishing_output(found, target, mechanism), target, mechanism)
    found = with_groups(with_choices(found, target, mechanism), target, mechanism)
    found = with_inputs_left_out(with_named_inputs(found, target, mechanism), target, mechanism)
    return with_features(found, target, mechanism)


def _tried(search: Search, init: Mapping[str, str]) -> tuple[Found | None, Search]:
    """What a search finds, or another one if nothing ran: verified, or the likeliest that something speaks for."""
    found = _searched(search, init)
    # Some targets know neither heads nor samples. Some compute in float32 alone, some in square maps alone: that is
    # one finding, and the rest can be judged.
    others: list[dict[str, Any]] = [{"fewer_axes": True}, {"dtype": "float32"}]
    others += [{"refuses": EVENLY_SHRUNK}] if search.mechanism.id == "modified_resnet" else []
    others += [{"square": True}] if "height" in signature_of(search.mechanism).axes else []
    for change in others:
        if found is None and search.called and not search.ran and not search.last_error.startswith(_NO_DTYPE):
            other = replace(search.anew(), **change)
            found = _searched(other, init)
            search = other if other.ran else search
    if found is not None or search.best is None:
        return found, search
    found = search.best[1]
    # Where neither names nor answers say that it is called so, what it raises is no mistake of its own.
    silent = found.certainty == "guessed" and not search.ran
    return (None if silent and not search.last_error.startswith(_NO_DTYPE) else found), search


def _searched(search: Search, init: Mapping[str, str]) -> Found | None:
    """The first adapter that agrees with the reference; the likeliest of the others stays in the search."""
    for plan in plans(search, init):
        # A sign of life: what says nothing for long is taken for hung.
        search.progress(f"tried {search.called} ways to call it")
        if _hides_more(plan, search):
            continue
        found = _try_plan(search, plan)
        if found is not None or search.late:
            return found
    return None


def _hides_more(plan: Plan, search: Search) -> bool:
    """Whether it makes sizes equal that another way to build the target could hold apart, in which a mistake may hide."""
    least = search.least_repeated
    return least is not None and plan.repeated > least and plan.construction.arguments != search.least_built


def _try_plan(search: Search, plan: Plan) -> Found | None:
    """The verified adapter of a plan; unverified ones are kept in the search."""
    for calling in callings(function_of(search.target), search.mechanism):
        if search.late:
            return None
        if bool(calling.single) != search.fewer_axes:
            continue
        base, ran = called_as(plan.base, calling), search.ran
        found = _try_calling(search, plan, base, calling)
        if found is None and search.ran == ran and plan.rank + calling.cost < _FAR:
            found = _try_unmasked(search, plan, base, calling)
        if found is not None:
            return found
    return None


def _try_unmasked(search: Search, plan: Plan, base: Found, calling: Calling) -> Found | None:
    """With a mask that hides nothing, if the call needs a mask: in the forms in which it returns."""
    case = case_for(base, search.mechanism, plan.sizes)
    if case is None:
        return None
    for each in unmasked(base, search.mechanism):
        trial = attempt(replace(each, result=""), search.target, case, load=False)
        if trial.ran and attends(trial.results["out"], search.mechanism):
            found = _try_calling(search, plan, each, calling)
            if found is not None:
                return found
        if search.late:
            break
    return None


def _try_calling(search: Search, plan: Plan, base: Found, calling: Calling) -> Found | None:
    if not _ties_hold(base, search.mechanism):
        return None
    case = case_for(base, search.mechanism, plan.sizes)
    if case is None:
        return None
    base, possible = assigned(search, plan.own, base, case)
    search.called += 1
    first = attempt(replace(base, result=""), search.target, case, load=False)
    rank = plan.rank + calling.cost
    search.ran += first.ran
    if not first.ran:
        packed = any(argument.pack for argument in base.call)
        # What a list or a dictionary of tensors raises where tensors are wanted tells nothing.
        search.last_error = search.last_error if packed and search.last_error else first.error
        if possible and (calling.by_name or rank < 3):
            _keep_what_raised(search, guessed(base, possible), calling, rank, told(possible))
        return None
    placed = results(base, search.target, case)
    if not placed:
        if possible and calling.by_name:
            search.keep(rank + 50, guessed(base, possible))
        return None
    if not possible:
        placed, possible = assigned_in_part(search, plan.own, placed, case, seek_idle=rank < 3)
    for base in placed:
        places = around(plan, base, case, search.mechanism)
        if plan.inside and not places:
            # A norm elsewhere, of queries say, is none that the reference could have around it.
            places, possible = [((), ())], []
        for norms, placements in places:
            beside = [replace(g, placements=g.placements + placements) for g in possible]
            found = _try_guesses(search, plan, replace(base, norms=norms), beside, rank)
            if found is not None:
                return found
    return None


def _keep_what_raised(search: Search, likely: Found, calling: Calling, rank: float, named: bool) -> None:
    """Remember a call that raised, in case nothing that runs is likelier."""
    # What every name says is believed before a way to call it that runs but has no place for the weights.
    told = calling.by_name and rank < 1 and named
    # What gets as far as a name that is missing was called in the right layout.
    nearer = 50 if search.last_error.startswith(_NO_DTYPE) else 0
    search.keep(rank + (10 if told else 100 if calling.by_name else 150) - nearer, likely)


def _ties_hold(base: Found, mechanism: Mechanism) -> bool:
    """Whether tensors that play several roles have sizes that can be equal."""
    ties = subject_of(base, mechanism).ties
    return not any(a in base.free and a in ties for a in base.free)


def _try_guesses(search: Search, plan: Plan, base: Found, possible: list[Guess], rank: float) -> Found | None:
    """The first assignment of weights that agrees with a variant of the reference at two sets of sizes."""
    first = case_for(base, search.mechanism, plan.sizes)
    assert first is not None
    if any(first.sizes.get(axis) == 1 for axis in _SEEN):
        # Among one, whatever is computed is right.
        return None
    comparison = Comparison(search.target, first, plan.variants)
    started = search.spent
    for guess in possible[:GUESSES]:
        found = replace(base, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        search.compared += 1
        for fixed in comparison.agreeing(found):
            matched = replace(found, fixed=fixed)
            second = case_for(matched, search.mechanism, second_sizes(plan.sizes, free=matched.free), seed=12)
            again = attempt(matched, search.target, second) if second is not None else None
            if again is None or agrees(again.gap) or (not again.ran and again.stage != "weights"):
                return with_coincidences(replace(matched, certainty="verified"), search, plan)
            # Right at sizes that are all different, wrong at others: the best there is unless one is right at both.
            search.keep(rank - 100, replace(matched, certainty="verified"))
        if search.late or search.spent - started > _SHARE:
            # Another way to construct it may be the right one.
            break
    search.plausible += bool(possible)
    if possible and (search.least_repeated is None or plan.repeated < search.least_repeated):
        search.least_repeated, search.least_built = plan.repeated, plan.construction.arguments
    denied = search.said and LAYOUT_OPTIONS.get(base.result_layout, search.said) != search.said
    penalty = 5.0 if denied or not separates_samples(base, search.target, first) else 0.0
    trained = _right_in_training(search, plan, base, possible, first)
    if trained is not None:
        search.keep(rank - 50, trained)
    elif possible:
        likeliest = settled(base, search.target, first, possible)
        if likeliest.certainty == "guessed" and rank < 1 and not base.norms and all_told(possible, GUESSES):
            # There is no other way to place its tensors, and in none of them is the target right.
            likeliest = replace(likeliest, certainty="placed")
        # Weights that fit at one set of sizes alone say that one of them is another than was thought.
        penalty += 0.0 if _fits_elsewhere(likeliest, search, plan) else 5.0
        search.keep(rank + penalty, likeliest)
    else:
        wanted = parameter_shapes(search.mechanism, {**first.names, **base.fixed})
        lacking = lacking_parameters(plan.own, wanted, first.sizes.get("heads", 1)) if rank < _FAR else ""
        search.keep(rank + penalty + 20, replace(base, loads=False, certainty="guessed", lacking=lacking))
    return None


def _fits_elsewhere(found: Found, search: Search, plan: Plan) -> bool:
    case = case_for(found, search.mechanism, second_sizes(plan.sizes, free=found.free), seed=12)
    return case is None or attempt(found, search.target, case).stage != "weights"


def _right_in_training(
    search: Search, plan: Plan, base: Found, possible: list[Guess], case: Case
) -> Found | None:
    """The assignment with which a target that norms batches is right in training, if wrong in evaluation."""
    if not statistics(plan.own):
        return None
    comparison = Comparison(search.target, case, plan.variants, train=True)
    for guess in possible[:GUESSES]:
        found = replace(base, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        for fixed in comparison.agreeing(found):
            matched = replace(found, fixed=fixed, certainty="verified")
            second = case_for(matched, search.mechanism, second_sizes(plan.sizes, free=matched.free), seed=12)
            again = Comparison(search.target, second, [fixed], train=True) if second is not None else None
            if again is None or again.agreeing(matched):
                return matched
    return None
