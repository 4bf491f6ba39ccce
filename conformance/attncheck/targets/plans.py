"""Ways to construct a target that work, with the sizes that it fixes for itself."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.jit import ScriptFunction
from torch.nn.parameter import is_lazy

from attncheck.model.case import Case, Scalar
from attncheck.targets.adapter import constructor_axes, signature_of
from attncheck.targets.calling import Calling, callings
from attncheck.targets.constructing import Construction, constructions
from attncheck.targets.documentation import documents_one_query
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.layers import learned_shapes
from attncheck.targets.layouts import kind_of
from attncheck.targets.making import is_constructor, rank_told
from attncheck.targets.normalising import Inside, norms_inside
from attncheck.targets.search import Search
from attncheck.targets.tapping import function_of
from attncheck.targets.trying import SIZE_SETS, case_for
from attncheck.targets.variants import combinations, option_groups
from attnref import Mechanism

# Sizes that a target may have fixed for itself, as expressions over the others.
_DERIVED: Mapping[str, tuple[str, ...]] = {
    "reduced": ("channels // 8", "channels // 2", "channels // 4", "channels // 16", "channels", "max(1, channels // 8)",
                "max(1, channels // 2)", "1"),
    "reduction": ("16", "8", "4", "2", "1", "32"),
    "kernel": ("7", "3", "5", "1"),
    "stride": ("1", "2"),
    # First free, as in a module whose weights do not depend on them.
    "channels": ("", "3"),
    "model_dim": ("",),
    "classes": ("10", "1000", "hidden"),
    "gate_kernel": ("kernel", "7", "3"),
    "least_reduced": ("1", "32", "8", "16", "4"),
    "groups": ("1", "2", "4", "8", "32"),
    "branches": ("2", "3", "4", "1"),
    "heads": ("1", "8", "4", "2"),
    "out_channels": ("channels", "channels * 2"),
    "v_dim": ("channels // 2", "channels // 8", "reduced"),
    "width": ("height",),
    "tokens": ("height * height",),
    "height": ("tokens", "1"),
    "hidden": ("model_dim", "query_size", "channels // 2", "channels // 8"),
}  # fmt: skip


# Sizes that a target often fixes otherwise than the reference does by default.
_OF_ITS_OWN = ("reduced", "gate_kernel")


@dataclass(frozen=True)
class Plan:
    """A way to construct the target at sizes where it can be built, with what follows from it."""

    construction: Construction
    sizes: Mapping[str, int]
    base: Found
    own: Mapping[str, tuple[int, ...]]
    rank: float
    inside: tuple[Inside, ...] = ()
    variants: tuple[Mapping[str, Scalar], ...] = ({},)

    @property
    def repeated(self) -> int:
        """How many sizes are made equal to another: what hides mistakes that show where they differ."""
        return self.construction.repeated + sum(e.isidentifier() for e in self.base.derived.values())


def plans(search: Search, init: Mapping[str, str]) -> Iterator[Plan]:
    if not is_constructor(search.target):
        yield from _function_plans(search)
        return
    axes, one = constructor_axes(search.mechanism), _lone_query(search)
    for construction in constructions(
        search.target, search.mechanism, axes or signature_of(search.mechanism).axes, init
    ):
        for derived in _derived_sizes(search.mechanism, construction):
            base = Found(
                search.mechanism.id, search.target.__qualname__, {}, (),
                arguments=construction.arguments, config=construction.config, made_as=construction.made_as,
                derived=derived | one,
                free=tuple(a for a in search.mechanism.contract.defaults if a in construction.assigned),
                takes=construction.takes, dtype=search.dtype, refuses=search.refuses,
            )  # fmt: skip
            yield from _built_plans(search, construction, base)


def _lone_query(search: Search) -> dict[str, str]:
    """A query a sample, where the target says that it takes no more."""
    axes = signature_of(search.mechanism).axes
    return {"q_len": "1"} if "q_len" in axes and documents_one_query(search.target) else {}


def _built_plans(search: Search, construction: Construction, base: Found) -> Iterator[Plan]:
    """The first sizes at which the target can be built, with every group of options."""
    for index, sizes in enumerate(SIZE_SETS):
        if search.late:
            return
        if search.square and "height" not in sizes:
            continue
        shapes = _shapes_built(search, base, sizes)
        if shapes is None:
            continue
        own, inside = shapes
        for group in _groups(search, base, sizes):
            yield Plan(
                construction,
                sizes,
                replace(base, fixed=group[0]),
                own,
                construction.cost + index,
                inside,
                tuple(group),
            )
        return


def _function_plans(search: Search) -> Iterator[Plan]:
    name = getattr(search.target, "name" if isinstance(search.target, ScriptFunction) else "__name__", "")
    name = name or type(search.target).__name__
    base = Found(
        search.mechanism.id, name, {}, (), is_class=False, dtype=search.dtype, derived=_lone_query(search)
    )
    own: dict[str, tuple[int, ...]] = {}
    if isinstance(search.target, nn.Module):
        own = learned_shapes(search.target)
    for group in _groups(search, base, {}):
        yield Plan(Construction({}, 0.0), {}, replace(base, fixed=group[0]), own, 0.0, (), tuple(group))


def _groups(search: Search, base: Found, sizes: Mapping[str, int]) -> list[list[dict[str, Scalar]]]:
    """Options that the target may have taken, those for as many axes as its code speaks of before others."""
    rank = rank_told(search.target)
    return sorted(option_groups(search.mechanism, base, sizes), key=lambda g: rank != g[0].get("rank", rank))


def _derived_sizes(mechanism: Mechanism, construction: Construction) -> Iterator[dict[str, str]]:
    """Sizes that the target does not let one choose, as expressions over the others."""
    axes = constructor_axes(mechanism)
    given = set(construction.arguments.values())
    assigned = {a for a in axes if any(a in re.findall(r"\w+", e) for e in given)}
    if not given & {"heads", "head_dim"}:
        # Their product alone does not say how many heads there are.
        assigned -= {"heads"}
    defaults = mechanism.contract.defaults
    own = (*_OF_ITS_OWN, "v_dim") if "channels" in axes else _OF_ITS_OWN
    missing = [a for a in axes if a not in assigned and (a not in defaults or a in own)]
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
    built = next(filter(callable, (_built(search, base, case) for case in _cases(search, base, sizes))), None)
    if not isinstance(built, nn.Module):
        return ({}, ()) if callable(built) else None
    inside = norms_inside(built) if _features_last(search.mechanism) else ()
    apart = {name for norm in inside for name in norm.tensors}
    return {n: shape for n, shape in learned_shapes(built).items() if n not in apart}, inside


def _cases(search: Search, base: Found, sizes: Mapping[str, int]) -> Iterator[Case]:
    """A case to build the target for, and others if its arguments depend on a number of parts that is no size."""
    filled = _with_all_inputs(base, search.mechanism)
    # Sizes of its own may be legal under an option that is not the default one.
    settings = (replace(filled, fixed=fixed) for fixed in ({}, *combinations(search.mechanism, base)))
    cases = (case_for(setting, search.mechanism, sizes) for setting in settings)
    case = next((case for case in cases if case is not None), None)
    if case is None:
        return
    yield case
    for option in search.mechanism.contract.options:
        named = any(re.search(rf"\b{option.name}\b", e) for e in base.arguments.values())
        if named and {type(value) for value in option.values} == {int}:
            others = (
                case_for(filled, search.mechanism, sizes, options={option.name: v}) for v in option.values[1:]
            )
            yield from (other for other in others if other is not None)


def _built(search: Search, base: Found, case: Case) -> Any:
    search.built += 1
    try:
        built = FoundAdapter(base, search.target).build(case.names)
        if isinstance(built, nn.Module) and any(map(is_lazy, (*built.parameters(), *built.buffers()))):
            return _materialised(search, base, case)
        return built
    except (Exception, SystemExit) as error:
        search.constructor_error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return None


def _features_last(mechanism: Mechanism) -> bool:
    return kind_of(signature_of(mechanism)["out"].axes) == "sequence"


def _materialised(search: Search, base: Found, case: Case) -> nn.Module | None:
    """An instance whose lazy layers got their shapes from the first call that returns."""
    for calling in callings(function_of(search.target), search.mechanism):
        adapter = FoundAdapter(called_as(base, calling), search.target)
        built: nn.Module = adapter.build(case.names)
        try:
            adapter.materialise(built, case.names)
        except Exception as error:
            search.last_error = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        return built
    return None


def called_as(base: Found, calling: Calling) -> Found:
    """The adapter with a call, in which what has no axis has size one."""
    return replace(
        base,
        derived={**base.derived, **dict.fromkeys(calling.single, "1")},
        tied=calling.tied,
        inputs=calling.inputs,
        call=calling.arguments,
        result_layout=calling.layout,
        ranks=calling.ranks,
    )


def _with_all_inputs(base: Found, mechanism: Mechanism) -> Found:
    names = [t.name for t in signature_of(mechanism).inputs if not t.optional]
    return replace(base, inputs={n: (n,) for n in names})
