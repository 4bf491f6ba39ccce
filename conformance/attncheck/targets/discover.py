"""Finding an adapter: guesses at constructor, call and weights, tried until one agrees with the reference."""

import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attncheck.model.case import Case, Scalar
from attncheck.model.errors import NoAdapterError
from attncheck.strategies.sizes import BASE
from attncheck.targets.adapter import build_reference, feature_sizes, parameter_shapes, signature_of
from attncheck.targets.bench import Bench
from attncheck.targets.calling import Calling, callings
from attncheck.targets.choosing import with_choices, with_ignored_inputs
from attncheck.targets.constructing import Construction, constructions
from attncheck.targets.features import function_of, raw_result, with_features
from attncheck.targets.found import Found, FoundAdapter
from attncheck.targets.hypotheses import Guess, Shape, guesses, learned_shapes
from attncheck.targets.layouts import kind_of
from attncheck.targets.limits import with_refusals, with_vanishing_output
from attncheck.targets.normalising import Inside, Norm, arrangements, norms_inside
from attncheck.targets.placing import Placement
from attncheck.targets.probing import acts_its_roles, all_told, lacking_parameters, stands_apart
from attncheck.targets.subject import Subject
from attncheck.targets.trying import (
    SIZE_SETS,
    Comparison,
    agrees,
    attempt,
    case_for,
    instance_of,
    second_sizes,
    subject_of,
)
from attncheck.targets.variants import option_groups
from attnref import Mechanism
from attnref.axes import BY_NAME

Progress = Callable[[str], None]
# Of computing, so that a busy machine finds what an idle one finds, and of waiting for one that sleeps.
_SECONDS = 20.0
_WAITING = 60.0
_GUESSES = 400
_PROBED = 60
_COMPARISONS = 3000
_PLAUSIBLE = 24
# What is raised for want of a name is raised in every dtype.
_NO_DTYPE = ("AttributeError", "NameError", "ImportError", "ModuleNotFoundError", "NotImplementedError")
# Sizes that a target may have fixed for itself, as expressions over the others.
_DERIVED: Mapping[str, tuple[str, ...]] = {
    "reduced": ("channels // 8", "channels // 2", "channels // 4", "channels // 16", "channels", "max(1, channels // 8)",
                "max(1, channels // 2)", "1"),
    "reduction": ("16", "8", "4", "2", "1", "32"),
    "kernel": ("7", "3", "5", "1"),
    "stride": ("1", "2"),
    # First free, as in a module whose weights do not depend on them.
    "channels": ("", "3"),
    "classes": ("10", "1000", "hidden"),
    "gate_kernel": ("kernel", "7", "3"),
    "least_reduced": ("1", "32", "8", "16", "4"),
    "groups": ("1", "2", "4", "8", "32"),
    "branches": ("2", "3", "4", "1"),
    "heads": ("1", "8", "4", "2"),
    "out_channels": ("channels", "channels * 2"),
    "width": ("height",),
    "height": ("tokens", "1"),
    "hidden": ("model_dim", "query_size", "channels // 2", "channels // 8"),
}  # fmt: skip

# Sizes that a target often fixes otherwise than the reference does by default.
_OF_ITS_OWN = ("reduced", "gate_kernel")


@dataclass
class Search:
    """What has been tried so far, for the message if nothing works."""

    target: Any
    mechanism: Mechanism
    progress: Progress
    dtype: str = "float64"
    started: float = field(default_factory=time.thread_time)
    started_waiting: float = field(default_factory=time.monotonic)
    built: int = 0
    called: int = 0
    ran: int = 0
    compared: int = 0
    last_error: str = ""
    constructor_error: str = ""
    plausible: int = 0
    least_repeated: int | None = None
    best: tuple[float, Found] | None = None
    guessed: dict[str, list[Guess]] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        """Whether the search has taken its time, or has seen enough that runs but does not agree."""
        return (
            time.thread_time() - self.started > _SECONDS
            or time.monotonic() - self.started_waiting > _WAITING
            or self.compared > _COMPARISONS
            or self.plausible > _PLAUSIBLE
        )

    def guesses(
        self, own: Mapping[str, Shape], reference: Mapping[str, Shape], heads: int | None
    ) -> list[Guess]:
        """Assignments of weights, made once for all ways to call what is built alike."""
        key = repr((own, reference, heads))
        if key not in self.guessed:
            self.guessed[key] = guesses(own, reference, heads)
        return self.guessed[key]

    def keep(self, rank: float, found: Found) -> None:
        """Remember the most likely guess that could not be verified."""
        if self.best is None or rank < self.best[0]:
            self.best = (rank, found)


def discover(
    target: Any,
    mechanism: Mechanism,
    *,
    init: Mapping[str, str] | None = None,
    progress: Progress = lambda _: None,
) -> Found:
    """Find out how `target` is built and called as `mechanism`. Raises NoAdapterError with what was tried."""
    search = Search(target, mechanism, progress)
    found = _searched(search, init or {})
    if found is None and search.called and not search.ran and not search.last_error.startswith(_NO_DTYPE):
        # Some targets compute in float32 alone: that is one finding, and the rest can be judged.
        lower = Search(target, mechanism, progress, dtype="float32")
        found = _searched(lower, init or {})
        search = lower if lower.ran else search
    if found is None and search.best is not None:
        found = search.best[1]
    if found is None:
        raise NoAdapterError(_explanation(search))
    found = with_vanishing_output(with_refusals(found, target, mechanism), target, mechanism)
    found = with_ignored_inputs(with_choices(found, target, mechanism), target, mechanism)
    return with_features(found, target, mechanism)


def _searched(search: Search, init: Mapping[str, str]) -> Found | None:
    """The first adapter that agrees with the reference; the likeliest of the others stays in the search."""
    for plan in _plans(search, init):
        # A sign of life: what says nothing for long is taken for hung.
        search.progress(f"tried {search.called} ways to call it")
        if search.least_repeated is not None and plan.construction.repeated > search.least_repeated:
            # With two sizes made equal a mistake may hide that showed when they differed.
            continue
        found = _try_plan(search, plan)
        if found is not None or search.late:
            return found
    return None


@dataclass(frozen=True)
class _Plan:
    """A way to construct the target at sizes where it can be built, with what follows from it."""

    construction: Construction
    sizes: Mapping[str, int]
    base: Found
    own: Mapping[str, tuple[int, ...]]
    rank: float
    inside: tuple[Inside, ...] = ()
    variants: tuple[Mapping[str, Scalar], ...] = ({},)


def _plans(search: Search, init: Mapping[str, str]) -> Iterator[_Plan]:
    if not isinstance(search.target, type):
        yield from _function_plans(search)
        return
    axes = constructor_axes(search.mechanism)
    for construction in constructions(
        search.target, search.mechanism, axes or signature_of(search.mechanism).axes, init
    ):
        for derived in _derived_sizes(search.mechanism, construction):
            base = Found(
                search.mechanism.id, search.target.__qualname__, {}, (),
                arguments=construction.arguments, config=construction.config, derived=derived,
                free=tuple(a for a in search.mechanism.contract.defaults if a in construction.assigned),
                takes=construction.takes, dtype=search.dtype,
            )  # fmt: skip
            yield from _built_plans(search, construction, base)


def _built_plans(search: Search, construction: Construction, base: Found) -> Iterator[_Plan]:
    """The first sizes at which the target can be built, with every group of options."""
    for index, sizes in enumerate(SIZE_SETS):
        if search.late:
            return
        shapes = _shapes_built(search, base, sizes)
        if shapes is None:
            continue
        own, inside = shapes
        for group in option_groups(search.mechanism, base, sizes):
            yield _Plan(
                construction,
                sizes,
                replace(base, fixed=group[0]),
                own,
                construction.cost + index,
                inside,
                tuple(group),
            )
        return


def _function_plans(search: Search) -> Iterator[_Plan]:
    name = getattr(search.target, "__name__", type(search.target).__name__)
    base = Found(search.mechanism.id, name, {}, (), is_class=False, dtype=search.dtype)
    own: dict[str, tuple[int, ...]] = {}
    if isinstance(search.target, nn.Module):
        own = learned_shapes(search.target)
    for group in option_groups(search.mechanism, base, {}):
        yield _Plan(Construction({}, 0.0), {}, replace(base, fixed=group[0]), own, 0.0, (), tuple(group))


def constructor_axes(mechanism: Mechanism) -> tuple[str, ...]:
    """Axes whose sizes the reference's constructor takes."""
    if mechanism.module is None:
        return ()
    return tuple(p for p in inspect.signature(mechanism.module).parameters if p in BY_NAME)


def _derived_sizes(mechanism: Mechanism, construction: Construction) -> Iterator[dict[str, str]]:
    """Sizes that the target does not let one choose, as expressions over the others."""
    axes = constructor_axes(mechanism)
    given = set(construction.arguments.values())
    assigned = {a for a in axes if any(a in e.split() for e in given)}
    if not given & {"heads", "head_dim"}:
        # Their product alone does not say how many heads there are.
        assigned -= {"heads"}
    defaults = mechanism.contract.defaults
    missing = [a for a in axes if a not in assigned and (a not in defaults or a in _OF_ITS_OWN)]
    widths = {"query_size", "key_size", "value_size", "head_dim", "v_dim", "model_dim", "hidden"}
    choices = []
    for axis in missing:
        others = tuple(a for a in axes if a in assigned and {a, axis} <= widths)
        first = ("",) if axis in defaults else ()
        choices.append((*first, *others, *_DERIVED.get(axis, ())))
    for chosen in itertools.islice(itertools.product(*choices), 80):
        yield {axis: expression for axis, expression in zip(missing, chosen, strict=True) if expression}


def _shapes_built(
    search: Search, base: Found, sizes: Mapping[str, int]
) -> tuple[dict[str, tuple[int, ...]], tuple[Inside, ...]] | None:
    """Names and shapes of what the target learns at these sizes, its norms apart; None if it cannot be built."""
    case = case_for(_with_all_inputs(base, search.mechanism), search.mechanism, sizes)
    if case is None:
        return None
    search.built += 1
    try:
        built = FoundAdapter(base, search.target).build(case.names)
        if isinstance(built, nn.Module) and any(map(is_lazy, (*built.parameters(), *built.buffers()))):
            built = _materialised(search, base, case)
    except (Exception, SystemExit) as error:
        search.constructor_error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return None
    if not isinstance(built, nn.Module):
        return ({}, ()) if callable(built) else None
    inside = norms_inside(built) if _features_last(search.mechanism) else ()
    apart = {name for norm in inside for name in norm.tensors}
    return {n: shape for n, shape in learned_shapes(built).items() if n not in apart}, inside


def _features_last(mechanism: Mechanism) -> bool:
    return kind_of(signature_of(mechanism)["out"].axes) == "sequence"


def _materialised(search: Search, base: Found, case: Case) -> nn.Module | None:
    """An instance whose lazy layers got their shapes from the first call that returns."""
    for calling in callings(function_of(search.target), search.mechanism):
        adapter = FoundAdapter(_called(base, calling), search.target)
        built: nn.Module = adapter.build(case.names)
        try:
            adapter.materialise(built, case.names)
        except Exception as error:
            search.last_error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        return built
    return None


def _called(base: Found, calling: Calling) -> Found:
    return replace(
        base,
        inputs=calling.inputs,
        call=calling.arguments,
        result_layout=calling.layout,
        ranks=calling.ranks,
    )


def _with_all_inputs(base: Found, mechanism: Mechanism) -> Found:
    names = [t.name for t in signature_of(mechanism).inputs if not t.optional]
    return replace(base, inputs={n: (n,) for n in names})


def _try_plan(search: Search, plan: _Plan) -> Found | None:
    """The verified adapter of a plan; unverified ones are kept in the search."""
    for calling in callings(function_of(search.target), search.mechanism):
        if search.late:
            return None
        found = _try_calling(search, plan, _called(plan.base, calling), calling)
        if found is not None:
            return found
    return None


def _try_calling(search: Search, plan: _Plan, base: Found, calling: Calling) -> Found | None:
    if not _ties_hold(base, search.mechanism):
        return None
    case = case_for(base, search.mechanism, plan.sizes)
    if case is None:
        return None
    heads = case.sizes.get("heads")
    reference = parameter_shapes(search.mechanism, {**case.names, **base.fixed})
    possible = search.guesses(plan.own, reference, heads) if plan.own else [_nothing(reference)]
    search.called += 1
    first = attempt(replace(base, result=""), search.target, case, load=False)
    rank = plan.rank + calling.cost
    search.ran += first.ran
    if not first.ran:
        search.last_error = first.error
        if possible and (calling.by_name or rank < 3):
            # What every name says is believed before a way to call it that runs but has no place for the weights.
            told = calling.by_name and rank < 1 and possible[0].named
            # What gets as far as a name that is missing was called in the right layout.
            nearer = 50 if first.error.startswith(_NO_DTYPE) else 0
            search.keep(
                rank + (10 if told else 100 if calling.by_name else 150) - nearer, _guessed(base, possible)
            )
        return None
    placed = _results(base, search.target, case)
    if not placed:
        if possible and calling.by_name:
            search.keep(rank + 50, _guessed(base, possible))
        return None
    for base in placed:
        around = _around(search, plan, base, case)
        if plan.inside and not around:
            # A norm elsewhere, of queries say, is none that the reference could have around it.
            around, possible = [((), ())], []
        for norms, placements in around:
            guessed = [replace(g, placements=g.placements + placements) for g in possible]
            found = _try_guesses(search, plan, replace(base, norms=norms), guessed, rank)
            if found is not None:
                return found
    return None


def _around(
    search: Search, plan: _Plan, base: Found, case: Case
) -> list[tuple[tuple[Norm, ...], tuple[Placement, ...]]]:
    """Where the target's norms may stand: nowhere, if it has none."""
    if not plan.inside:
        return [((), ())]
    return list(arrangements(plan.inside, feature_sizes(search.mechanism, base.inputs, case.names)))


def _nothing(reference: Mapping[str, object]) -> Guess:
    return Guess((), tuple(reference), (), 0.0, named=not reference)


def _ties_hold(base: Found, mechanism: Mechanism) -> bool:
    """Whether tensors that play several roles have sizes that can be equal."""
    ties = subject_of(base, mechanism).ties
    return not any(a in base.free and a in ties for a in base.free)


def _guessed(base: Found, possible: list[Guess]) -> Found:
    guess = possible[0]
    return replace(
        base, placements=guess.placements, absent=guess.absent, identity=guess.identity,
        certainty="named" if guess.named else "guessed",
    )  # fmt: skip


def _settled(base: Found, target: Any, case: Case, possible: list[Guess]) -> Found:
    """The likeliest assignment: named, or the one whose tensors act as their roles must."""
    if possible[0].named and not base.norms:
        return _guessed(base, possible)
    # What layers are called stands; with norms, whether they act so is seen as well.
    for guess in possible[: 1 if possible[0].named else _PROBED]:
        found = replace(base, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        if acts_its_roles(found, target, case):
            return replace(found, certainty="probed")
    if base.norms:
        # It may stand where the reference has no place for one, between heads and output say.
        return replace(_guessed(base, possible), certainty="guessed")
    if stands_apart(possible):
        return replace(_guessed(base, possible), certainty="placed")
    return _guessed(base, possible)


def _results(base: Found, target: Any, case: Any) -> list[Found]:
    """The parts of a result that have the shape of the output, and the weights beside them."""
    adapter = FoundAdapter(base, target)
    subject = Subject(adapter.mechanism, adapter.interface)
    shape = tuple(d.size({**case.names, **base.fixed}) for d in _output_dims(subject, case))
    found = []
    for place in places_of(base, target, case):
        trial = attempt(replace(base, result=place), target, case, load=False)
        if trial.ran and tuple(trial.results["out"].shape) == shape:
            found.append(replace(base, result=place))
    return found


def _output_dims(subject: Subject, case: Any) -> Any:
    shape = subject.signature["out"]
    given = len(next(iter(subject.ask(case).inputs.values())).shape)
    return next((dims for dims in shape.ranks if len(dims) == given), shape.dims)


def places_of(base: Found, target: Any, case: Any) -> list[str]:
    """Where tensors are in what the target returns."""
    raw = raw_result(base, target, case)
    if isinstance(raw, Tensor):
        return [""]
    if isinstance(raw, (tuple, list)):
        return [str(i) for i, part in enumerate(raw) if isinstance(part, Tensor)]
    if isinstance(raw, Mapping):
        return [str(k) for k, part in raw.items() if isinstance(part, Tensor)]
    return [n for n in dir(raw) if not n.startswith("_") and isinstance(getattr(raw, n, None), Tensor)]


def _try_guesses(
    search: Search, plan: _Plan, base: Found, possible: list[Guess], rank: float
) -> Found | None:
    """The first assignment of weights that agrees with a variant of the reference at two sets of sizes."""
    first = case_for(base, search.mechanism, plan.sizes)
    assert first is not None
    comparison = Comparison(base, search.target, first, plan.variants)
    started = time.thread_time()
    for guess in possible[:_GUESSES]:
        found = replace(base, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        search.compared += 1
        for fixed in comparison.agreeing(found):
            matched = replace(found, fixed=fixed)
            second = case_for(matched, search.mechanism, second_sizes(plan.sizes), seed=12)
            again = attempt(matched, search.target, second) if second is not None else None
            if again is None or agrees(again.gap) or (not again.ran and again.stage != "weights"):
                return _with_coincidences(replace(matched, certainty="verified"), search, plan)
            # Right at sizes that are all different, wrong at others: the best there is unless one is right at both.
            search.keep(rank - 100, replace(matched, certainty="verified"))
        if search.late or time.thread_time() - started > _SECONDS / 5:
            # Another way to construct it may be the right one.
            break
    search.plausible += bool(possible)
    if possible and (search.least_repeated is None or plan.construction.repeated < search.least_repeated):
        search.least_repeated = plan.construction.repeated
    penalty = 0.0 if _separates_samples(base, search.target, first) else 5.0
    if possible:
        settled = _settled(base, search.target, first, possible)
        if settled.certainty == "guessed" and rank < 1 and not base.norms and all_told(possible, _GUESSES):
            # There is no other way to place its tensors, and in none of them is the target right.
            settled = replace(settled, certainty="placed")
        search.keep(rank + penalty, settled)
    else:
        lacking = lacking_parameters(
            plan.own,
            parameter_shapes(search.mechanism, {**first.names, **base.fixed}),
            first.sizes.get("heads", 1),
        )
        search.keep(rank + penalty + 20, replace(base, loads=False, certainty="guessed", lacking=lacking))
    return None


def _with_coincidences(found: Found, search: Search, plan: _Plan) -> Found:
    """Placements for sizes that coincide: some targets pack their weights only then."""
    if not found.free:
        return found
    equal = replace(found, free=())
    case = case_for(equal, search.mechanism, plan.sizes)
    built = _instance(equal, search.target, case) if case is not None else None
    if not isinstance(built, nn.Module) or case is None:
        return found
    own = learned_shapes(built)
    if set(own) == set(plan.own):
        return found
    reference = parameter_shapes(search.mechanism, {**case.names, **found.fixed})
    for guess in guesses(own, reference, case.sizes.get("heads"))[:_GUESSES]:
        tried = replace(equal, placements=guess.placements, absent=guess.absent, identity=guess.identity)
        if guess.absent == found.absent and agrees(attempt(tried, search.target, case, built=built).gap):
            return replace(found, others=(guess.placements,))
    return found


def _instance(base: Found, target: Any, case: Any) -> Any:
    adapter = FoundAdapter(base, target)
    try:
        built = instance_of(adapter, Subject(adapter.mechanism, adapter.interface).ask(case))
        if isinstance(built, nn.Module):
            adapter.materialise(built, case.names)
        return built
    except Exception:
        return None


def _separates_samples(base: Found, target: Any, case: Any) -> bool:
    """Whether a sample's output stays where it is when another sample changes: a sign of the right layout."""
    adapter = FoundAdapter(base, target)
    subject = Subject(adapter.mechanism, adapter.interface)
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


def _explanation(search: Search) -> str:
    """What was tried, what would help, and the adapter a person can write."""
    name = getattr(search.target, "__name__", str(search.target))
    lines = [f"could not find out how to build and call {name} as {search.mechanism.id}"]
    if search.constructor_error and not search.called:
        lines.append(
            f"  no way to construct it worked ({search.built} tried); the last: {search.constructor_error}"
        )
    elif search.last_error:
        lines.append(f"  {search.called} ways to call it were tried; the last: {search.last_error}")
    lines += [
        "",
        "say how it is constructed, for example:",
        f"  {_init_hint(search)}",
        "",
        "or write an adapter (--adapter my_adapter.py:Adapter):",
    ]
    return "\n".join([*lines, *(f"  {line}" for line in _template(search, name))])


def _init_hint(search: Search) -> str:
    names = (
        [p.name for p in inspect.signature(search.target).parameters.values() if p.default is p.empty]
        if isinstance(search.target, type)
        else []
    )
    axes = constructor_axes(search.mechanism) or ("model_dim",)
    pairs = [f"--init {n}={axes[i % len(axes)]}" for i, n in enumerate(names)] or [f"--init dim={axes[0]}"]
    return " ".join(pairs)


def _template(search: Search, name: str) -> list[str]:
    inputs = [t.name for t in signature_of(search.mechanism).inputs if not t.optional]
    sizes = ", ".join(constructor_axes(search.mechanism))
    parameters = list(parameter_shapes_hint(search.mechanism))
    return [
        f"from your_module import {name}",
        "",
        "class Adapter:",
        f'    mechanism = "{search.mechanism.id}"',
        f"    def build(self, {sizes + ', ' if sizes else ''}**_):",
        f"        return {name}({sizes})",
        "    def load(self, module, weights):",
        f"        ...  # weights has {', '.join(parameters[:4])}{', …' if len(parameters) > 4 else ''}",
        f"    def call(self, module, {', '.join(inputs)}, **_):",
        f"        return module({', '.join(inputs)})",
    ]


def parameter_shapes_hint(mechanism: Mechanism) -> list[str]:
    """Names of the reference's parameters."""
    if mechanism.module is None:
        return []
    known = inspect.signature(mechanism.module).parameters
    try:
        with torch.device("meta"):
            return [
                n
                for n, _ in build_reference(
                    mechanism, {a: BASE[a] for a in BASE if a in known}
                ).named_parameters()
            ]
    except ValueError:
        return []
