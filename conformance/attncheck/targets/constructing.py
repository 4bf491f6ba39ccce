"""Guesses at how a target is constructed: which argument is which size."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from attncheck.targets.adapter import signature_of
from attncheck.targets.configuring import (
    class_told,
    entries_read,
    fields_read,
    fields_said,
    hands_on,
    offered,
    unpacked,
)
from attncheck.targets.found import DICTIONARY, NAMESPACE
from attncheck.targets.names import ARGUMENTS, CONFIGS, LENGTHS, ZERO, axes_for, is_dropout
from attncheck.targets.parameters import is_count
from attncheck.targets.wanting import CONSTANTS, LONGEST, WINDOW, Choices, choices_for, whole_for
from attncheck.targets.words import words_read
from attnref import Mechanism

_MOST = 150


@dataclass(frozen=True)
class Construction:
    """Constructor arguments as expressions over sizes and options, and how unlikely they look.

    `config` names the one argument that takes all of them, as fields or entries of what `made_as`
    says. `takes` lists options of the reference that the constructor
    decides; `repeated` counts arguments that got a size which another one has too.
    """

    arguments: Mapping[str, str]
    cost: float
    config: str = ""
    made_as: str = NAMESPACE
    takes: tuple[str, ...] = ()
    repeated: int = 0
    assigned: tuple[str, ...] = field(default=())


def constructions(
    target: Callable[..., Any], mechanism: Mechanism, axes: tuple[str, ...], given: Mapping[str, str]
) -> list[Construction]:
    """Ways to construct `target`, the likeliest first. `given` are arguments a person fixed."""
    parameters = offered(target)
    if parameters is None:
        return [Construction(dict(given), 0.0)]
    wholes = {name: whole_for(parts, mechanism, axes) for name, parts in unpacked(target).items()}
    # Channels that come with the sides are in no other argument.
    taken = {"channels"} if any("channels" in whole for whole in wholes.values() if whole) else set()
    free = tuple(axis for axis in axes if axis not in taken)
    choices = {p.name: choices_for(p, mechanism, free) for p in parameters if p.name not in given}
    choices |= {
        name: [(text, 0.0) for text in texts] for name, texts in words_read(target).items() if name in choices
    }
    choices |= {name: [(whole, 0.0)] for name, whole in wholes.items() if whole and name in choices}
    for parameter in parameters:
        if parameter.name == "block_size" and is_count(parameter) and not hands_on(target, parameter.name):
            # What is worked through at a time: the longest there can be is handed to a table or a mask.
            choices[parameter.name] = [(None, 0.0)]
    found = list(_combined(choices, given))
    lone = [p for p in parameters if p.default is p.empty] or parameters
    entries = entries_read(target, lone[0]) if len(lone) == 1 else []
    if entries:
        ways = _configured(lone[0].name, entries, mechanism, axes)
        found = [*(replace(way, made_as=DICTIONARY) for way in ways), *found]
    elif len(lone) == 1 and lone[0].name.lower() in CONFIGS:
        told = class_told(target, lone[0])
        usual = [] if told else [_as_config(target, lone[0], mechanism, axes)]
        ways = _by_fields(target, lone[0], mechanism, axes)
        found = [*usual, *(replace(way, made_as=told or NAMESPACE) for way in ways), *found]
    return sorted(found, key=lambda c: c.cost)[:_MOST]


def _by_fields(
    target: Callable[..., Any], parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]
) -> Iterator[Construction]:
    """A configuration whose fields are told: each is guessed at as an argument of that name and default would be."""
    fields = fields_said(target, parameter)
    if fields:
        yield from _configured(parameter.name, fields, mechanism, axes)


def _configured(
    config: str, fields: list[inspect.Parameter], mechanism: Mechanism, axes: tuple[str, ...]
) -> Iterator[Construction]:
    """A configuration of these fields or entries, each guessed at as an argument would be."""
    said = _said(fields)
    choices = {field.name: choices_for(field, mechanism, axes) for field in fields}
    for way in _combined(choices, {}):
        yield replace(way, arguments={**said, **way.arguments}, config=config)


def _said(fields: list[inspect.Parameter]) -> dict[str, str]:
    """The defaults of fields, as expressions."""
    return {field.name: repr(field.default) for field in fields if field.default is not field.empty}


def _combined(choices: Mapping[str, Choices], given: Mapping[str, str]) -> Iterator[Construction]:
    """Combinations by rising cost; two arguments of one size cost extra."""
    names = list(choices)
    limited = [choices[n][: 8 if len(names) < 5 else 4] for n in names]
    ranked = []
    for combination in itertools.islice(itertools.product(*limited), 20_000):
        values = [e for e, _ in combination if e is not None]
        sizes = [v for v in values if v not in (*CONSTANTS, "dropout", "dropout > 0")]
        # A constant where a size is wanted hides as much as a size that is there twice.
        settled = sum(
            1 for name, (e, _) in zip(names, combination, strict=True) if e in CONSTANTS and axes_for(name)
        )
        repeated = len(sizes) - len(set(sizes)) + settled
        ranked.append((sum(c for _, c in combination) + 0.7 * repeated, repeated, combination))
    ranked.sort(key=lambda pair: pair[0])
    for cost, repeated, combination in ranked[: 2 * _MOST]:
        arguments = {n: e for n, (e, _) in zip(names, combination, strict=True) if e is not None}
        arguments |= given
        takes = tuple(e for e in ("causal", "bias", "dropout", "soft_cap") if e in arguments.values())
        takes += ("height",) if {WINDOW, "height"} & set(arguments.values()) else ()
        yield Construction(
            arguments, cost, takes=takes, repeated=repeated, assigned=tuple(arguments.values())
        )


def _as_config(
    target: Callable[..., Any], parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]
) -> Construction:
    """Every name that a size goes by in published configurations, as fields of one object."""
    fields: dict[str, str] = {}
    # A size that has a field of its own name is no other field's.
    own = fields_read(target, parameter.name)
    for names, meanings in ARGUMENTS.items():
        axis = next((a for a in meanings if a in axes and a not in own), None)
        axis = axis or next((a for a in meanings if a in axes), None)
        if axis:
            fields |= {n: axis for n in names if n not in fields}
    fields |= {name: name for name in own if name in axes}
    fields |= dict.fromkeys(ZERO, "dropout")
    if "q_len" in signature_of(mechanism).axes:
        fields |= dict.fromkeys(LENGTHS, LONGEST)
    # A configuration that says nothing of them lets them follow from the others.
    defaults = {"head_dim": "model_dim // heads", "v_dim": "model_dim // heads"}
    for axis, expression in {**dict(mechanism.contract.defaults.items()), **defaults}.items():
        if axis in mechanism.contract.defaults:
            fields = {n: (e if e != axis else expression) for n, e in fields.items()}
    flags = {"bias": "True", "qkv_bias": "True", "attention_bias": "True", "use_bias": "True", "attn_bias": "True",
             "causal": "False", "is_causal": "False", "is_decoder": "False", "_attn_implementation": "'eager'"}  # fmt: skip
    assigned = tuple(e for e in dict.fromkeys(fields.values()) if e not in mechanism.contract.defaults)
    # What its own configuration says beside, such as flags that no other has.
    said = {n: e for n, e in _said(fields_said(target, parameter)).items() if not is_dropout(n)}
    return Construction(
        {**said, **fields, **flags}, -0.5, config=parameter.name, takes=("dropout",), assigned=assigned
    )
