"""Guesses at how a target is called: which argument is which tensor, in which layout."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from attncheck.targets.adapter import forms_of, signature_of
from attncheck.targets.configuring import fields_held
from attncheck.targets.found import STACKED, Argument
from attncheck.targets.gating import WEIGHED, weighs
from attncheck.targets.layouts import (
    LINES,
    NUMBERS_BESIDE,
    QUERIES,
    SEQUENCES,
    Layout,
    layouts_of,
    single_axes,
)
from attncheck.targets.names import (
    CAUSAL,
    NEED_WEIGHTS,
    PARAMETERS,
    SCALE,
    SOFT_CAP,
    is_dropout,
    is_mask,
    roles_for,
)
from attncheck.targets.parameters import parameters_of
from attnref import Mechanism

# Names by which the mechanisms call what queries, keys and values are elsewhere.
_ALIASES = {"queries": "q", "keys": "k", "values": "v", "x": "x", "y": "kv", "scores": "x"}
# What is stacked is as long and as wide as what it is stacked upon.
_OF_A_STACK = {"kv_len": "q_len", "v_dim": "head_dim"}


@dataclass(frozen=True)
class Calling:
    """Arguments of a call and the inputs they stand for."""

    inputs: Mapping[str, tuple[str, ...]]
    arguments: tuple[Argument, ...]
    layout: str
    cost: float
    by_name: bool
    ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def single(self) -> tuple[str, ...]:
        """The axes of size one that some tensor of the call lacks."""
        layouts = {self.layout, *(argument.layout for argument in self.arguments)}
        return tuple(sorted({axis for name in layouts for axis in single_axes(name)}))

    @property
    def tied(self) -> Mapping[str, str]:
        """The axes that are one where tensors are stacked."""
        stacked = any(argument.pack.startswith(STACKED) for argument in self.arguments)
        return _OF_A_STACK if stacked else {}


def structures(mechanism: Mechanism) -> list[dict[str, tuple[str, ...]]]:
    """How the reference's inputs may be grouped into tensors, the finest grouping first."""
    required = [t.name for t in signature_of(mechanism).inputs if not t.optional]
    finest: dict[str, tuple[str, ...]] = {name: (name,) for name in required}
    if required[:3] in (["q", "k", "v"], ["queries", "keys", "values"]):
        q, k, v = required[:3]
        # A rank of its own or different axes forbid sharing: kernel regression's values are no keys.
        if mechanism.id in ("scaled_dot_product", "kernel_regression"):
            return [finest]
        if mechanism.id in ("dot_product", "additive"):
            return [finest, {q: (q,), "kv": (k, v)}]
        return [finest, {q: (q,), "kv": (k, v)}, {"x": (q, k, v)}]
    return [finest]


def callings(function: Callable[..., Any], mechanism: Mechanism) -> list[Calling]:
    """Ways to call `function`, the likeliest first."""
    parameters = [p for p in parameters_of(function) if p.name != "self"]
    if inspect.isfunction(function) and any(_holds_fields(function, p) for p in parameters):
        # It is handed its weights as an object, and has to own them first.
        return []
    found: list[Calling] = []
    for depth, inputs in enumerate(structures(mechanism)):
        found += _for_structure(parameters, inputs, mechanism, 0.3 * depth)
    if weighs(mechanism.id):
        inputs = structures(mechanism)[0]
        found += _for_structure(parameters, inputs, mechanism, 1.5, kept=(WEIGHED,))
    forms = forms_of(mechanism)
    if forms:
        found += [replace(c, ranks=forms[-1], cost=c.cost + 0.2) for c in found]
    return sorted(found, key=lambda c: c.cost)


def _holds_fields(function: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and bool(fields_held(function, parameter))


def _tensor_like(parameter: inspect.Parameter) -> bool:
    name = parameter.name.lower()
    if name in PARAMETERS:
        return False
    flags = (*CAUSAL, *NEED_WEIGHTS, *SCALE, *SOFT_CAP)
    if name in flags or is_dropout(name) or is_mask(name):
        return bool(roles_for(name)) and parameter.default is parameter.empty
    return parameter.default is parameter.empty or parameter.default is None


def _for_structure(
    parameters: list[inspect.Parameter],
    inputs: Mapping[str, tuple[str, ...]],
    mechanism: Mechanism,
    base: float,
    kept: tuple[str, ...] = (),
) -> Iterator[Calling]:
    """The calls with these inputs, of which some may be kept back."""
    handed = [name for name in inputs if name not in kept]
    extents = _extents(parameters)
    slots = [p for p in parameters if _tensor_like(p) and p.name not in extents]
    required = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    for chosen, cost, by_name in _assignments(slots, handed):
        rest = [p for p in required if p.name not in chosen]
        if any(
            not is_mask(p.name) and not _is_flag(p) and not _may_be_none(p)
            for p in rest
            if p.name not in extents
        ):
            continue
        if (
            by_name is False
            and len(slots) > len(handed)
            and any(
                p.default is p.empty
                for p in slots[len(handed) :]
                if not is_mask(p.name) and not _may_be_none(p)
            )
        ):
            continue
        yield from _laid_out(parameters, chosen, inputs, mechanism, base + cost, by_name, rest)
    if not kept:
        yield from _packed(slots, required, inputs, mechanism, base)


def _extents(parameters: list[inspect.Parameter]) -> tuple[str, ...]:
    """Arguments that say how high and how wide the map is whose pixels the tokens are, in that order."""
    required = {p.name.lower(): p.name for p in parameters if p.default is p.empty}
    pairs = (("h", "w"), ("height", "width"))
    return next(((required[h], required[w]) for h, w in pairs if h in required and w in required), ())


def _constant(
    parameter: inspect.Parameter,
    extents: tuple[str, ...],
    inputs: Mapping[str, tuple[str, ...]],
    axes: tuple[str, ...],
) -> str:
    """What an argument that takes none of the inputs is given."""
    if parameter.name in extents and "q_len" in axes:
        # All tokens in one row.
        is_height = parameter.name == extents[0]
        return "1" if is_height else f"{next(iter(inputs))}.shape[{axes.index('q_len')}]"
    return "False" if _is_flag(parameter) else "None"


def _is_flag(parameter: inspect.Parameter) -> bool:
    return parameter.name.lower() in (*CAUSAL, *NEED_WEIGHTS) or is_dropout(parameter.name)


def _may_be_none(parameter: inspect.Parameter) -> bool:
    """Whether a required argument is annotated as one that may be None."""
    return re.search(r"\bOptional\b|\bNone\b", str(parameter.annotation)) is not None


def _assignments(
    slots: list[inspect.Parameter], names: list[str]
) -> Iterator[tuple[dict[str, str], float, bool]]:
    """Which parameter takes which input: by name first, then in order, then in any order."""
    by_name: dict[str, str] = {}
    for name in names:
        wanted = _ALIASES.get(name, name)
        for slot in slots:
            # Of a word that may mean two things, the exact one counts.
            roles = roles_for(slot.name)[:1]
            # Beside a context, plain x asks.
            asks = wanted == "q" and roles == ("x",) and len(names) == 2
            if slot.name not in by_name and (wanted in roles or slot.name == name or asks):
                by_name[slot.name] = name
                break
    named = len(by_name) == len(names)
    if named:
        # What an argument is called counts: another order would excuse a mix-up.
        yield by_name, 0.0, True
        return
    if len(slots) >= len(names):
        firsts = [s.name for s in slots[: len(names)]]
        for index, order in enumerate(itertools.permutations(names)):
            chosen = dict(zip(firsts, order, strict=True))
            if chosen != by_name:
                yield chosen, (1.0 if index == 0 else 2.0 + 0.1 * index), False


def _laid_out(
    parameters: list[inspect.Parameter],
    chosen: Mapping[str, str],
    inputs: Mapping[str, tuple[str, ...]],
    mechanism: Mechanism,
    cost: float,
    by_name: bool,
    rest: list[inspect.Parameter],
) -> Iterator[Calling]:
    signature = signature_of(mechanism)
    axes = signature[next(iter(inputs.values()))[0]].axes
    extents = _extents(parameters)
    for index, layout in enumerate(_layouts(mechanism, axes)):
        arguments = []
        for parameter in parameters:
            # After a gap nothing can be positional; a name always can.
            named = "" if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name
            if parameter.name in chosen:
                arguments.append(Argument(named, tensor=chosen[parameter.name], layout=layout.name))
            elif parameter in rest:
                arguments.append(Argument(named, constant=_constant(parameter, extents, inputs, axes)))
        yield Calling(inputs, tuple(arguments), layout.name, cost + 0.5 * index, by_name)
        if layout.name in NUMBERS_BESIDE:
            numbers = NUMBERS_BESIDE[layout.name]
            mixed = [
                replace(a, layout=numbers) if inputs.get(a.tensor) == ("values",) else a for a in arguments
            ]
            yield Calling(inputs, tuple(mixed), numbers, cost + 0.5 * index + 0.2, by_name)
        if layout in SEQUENCES[:2] and "kv_len" not in axes and "q_len" in axes and len(inputs) > 1:
            yield from _one_query(Calling(inputs, tuple(arguments), layout.name, cost + 0.5 * index, by_name))


def _one_query(calling: Calling) -> Iterator[Calling]:
    """The same call with one query a sample, in every form in which it may be handed in and its answer come back."""
    asks = next(iter(calling.inputs))
    for place, (asked, answered) in enumerate(itertools.product(QUERIES, QUERIES)):
        handed = (replace(a, layout=asked.name) if a.tensor == asks else a for a in calling.arguments)
        yield replace(
            calling, arguments=tuple(handed), layout=answered.name, cost=calling.cost + 0.05 * place
        )


def _layouts(mechanism: Mechanism, axes: tuple[str, ...]) -> tuple[Layout, ...]:
    """The layouts to try; where they are no convention, another order of axes is a mistake, not a way to call."""
    every = layouts_of(axes)
    ordered = "layout" in mechanism.contract.conventions or every == LINES
    return every if ordered else every[:1]


def _stacked(
    name: str, inputs: Mapping[str, tuple[str, ...]], mechanism: Mechanism, base: float
) -> Iterator[Calling]:
    """One argument with an axis of three, for queries, keys and values of one sequence, wherever that axis is."""
    axes = signature_of(mechanism)["out"].axes
    for (index, layout), place in itertools.product(enumerate(_layouts(mechanism, axes)), range(len(axes))):
        argument = Argument(name, ",".join(inputs), layout=layout.name, pack=f"{STACKED}{place}")
        yield Calling(inputs, (argument,), layout.name, base + 0.5 * index + 0.1 * place, by_name=False)


def _packed(
    slots: list[inspect.Parameter],
    required: list[inspect.Parameter],
    inputs: Mapping[str, tuple[str, ...]],
    mechanism: Mechanism,
    base: float,
) -> Iterator[Calling]:
    """One argument that takes all tensors: a list, or a dictionary by any usual name."""
    if not slots or any(not is_mask(p.name) for p in required if p.name != slots[0].name):
        return
    signature = signature_of(mechanism)
    first = slots[0]
    name = "" if first.kind is first.POSITIONAL_ONLY else first.name
    if mechanism.id == "scaled_dot_product":
        yield from _stacked(name, inputs, mechanism, base + 3)
    packs = [("list", 4.0), ("last", 4.2)] if len(inputs) > 1 else []
    every, everything = _layouts(mechanism, signature[next(iter(inputs.values()))[0]].axes), ",".join(inputs)
    for (index, layout), (pack, cost) in itertools.product(enumerate(every), [*packs, ("dict", 5.0)]):
        argument = Argument(name, everything, layout=layout.name, pack=pack)
        yield Calling(inputs, (argument,), layout.name, base + cost + 0.5 * index, by_name=False)
