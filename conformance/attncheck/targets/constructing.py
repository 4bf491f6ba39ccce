"""Guesses at how a target is constructed: which argument is which size."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from attncheck.targets.adapter import constructor_axes, signature_of
from attncheck.targets.configuring import (
    entries_read,
    fields_read,
    fields_said,
    hands_on,
    tells_its_fields,
    words_read,
)
from attncheck.targets.names import (
    ACROSS,
    ARGUMENTS,
    BLOCKS,
    CAUSAL,
    CONFIGS,
    FACTORS,
    INNER,
    KERNELS,
    KV_HEADS,
    LENGTHS,
    OPTIONS,
    RESOLUTIONS,
    SIDES,
    SOFT_CAP,
    WINDOWS,
    ZERO,
    axes_for,
    is_dropout,
    layer_role,
)
from attnref import Mechanism

# What an argument that tells nothing may want, after every size was tried.
_CONSTANTS = ("True", "0.0", "None", "1")
# What a configuration beside the sizes is read for.
_LEAST_CONFIG = "SimpleNamespace(_attn_implementation='eager')"
# Neither int() nor round() of channels times this ratio is anything but channels // reduction.
_RATIO = "(channels // reduction + 0.25) / channels"
_LENGTH = "max(q_len, kv_len)"
# A table or a mask is as long as the longest sequence, which few are; some are.
_LONGEST = f"{_LENGTH} + q_len % 3"
_AT_MOST = re.compile("max|longest|block|context|ctx|position")
_MAP = "(height, width)"
_WINDOW = "(height, tokens // height)"
# The reference rounds up where CLIP rounds down: of a map of 32·n - 1 pixels n are left.
_RESOLUTION = "(height + 1) // 32 * 32"
_RESOLUTIONS = "((height + 1) // 32 * 32, (width + 1) // 32 * 32)"
# How large the pieces are in which a target works, or what it keeps: mistakes show only past them.
_PIECES = re.compile(
    "chunk|block|tile|piece|split|slice|bucket|buffer|cache|batch|step|iter|seed|depth|layer|dilat"
)
_MOST = 150


@dataclass(frozen=True)
class Construction:
    """Constructor arguments as expressions over sizes and options, and how unlikely they look.

    `config` names the one argument that takes all of them as an object's fields, or as entries of
    a dictionary if it is `keyed`. `takes` lists options of the reference that the constructor
    decides; `repeated` counts arguments that got a size which another one has too.
    """

    arguments: Mapping[str, str]
    cost: float
    config: str = ""
    keyed: bool = False
    takes: tuple[str, ...] = ()
    repeated: int = 0
    assigned: tuple[str, ...] = field(default=())


def constructions(
    target: Callable[..., Any], mechanism: Mechanism, axes: tuple[str, ...], given: Mapping[str, str]
) -> list[Construction]:
    """Ways to construct `target`, the likeliest first. `given` are arguments a person fixed."""
    parameters = _parameters(target)
    if parameters is None:
        return [Construction(dict(given), 0.0)]
    choices = {p.name: _choices(p, mechanism, axes) for p in parameters if p.name not in given}
    choices |= {
        name: [(text, 0.0) for text in texts] for name, texts in words_read(target).items() if name in choices
    }
    for parameter in parameters:
        if parameter.name == "block_size" and _is_count(parameter) and not hands_on(target, parameter.name):
            # What is worked through at a time: the longest there can be is handed to a table or a mask.
            choices[parameter.name] = [(None, 0.0)]
    found = list(_combined(choices, given))
    lone = [p for p in parameters if p.default is p.empty] or parameters
    entries = entries_read(target, lone[0]) if len(lone) == 1 else []
    if entries:
        ways = _configured(lone[0].name, entries, mechanism, axes)
        found = [*(replace(way, keyed=True) for way in ways), *found]
    elif len(lone) == 1 and lone[0].name.lower() in CONFIGS:
        usual = [] if tells_its_fields(target, lone[0]) else [_as_config(target, lone[0], mechanism, axes)]
        found = [*usual, *_by_fields(target, lone[0], mechanism, axes), *found]
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
    said = {field.name: repr(field.default) for field in fields if field.default is not field.empty}
    choices = {field.name: _choices(field, mechanism, axes) for field in fields}
    for way in _combined(choices, {}):
        yield replace(way, arguments={**said, **way.arguments}, config=config)


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        own = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None
    named = [p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [*named, *(entry for p in own if p.kind is p.VAR_KEYWORD for entry in entries_read(target, p))]


def _choices(
    parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]
) -> list[tuple[str | None, float]]:
    """Expressions for one argument with their costs; None leaves it at its default."""
    required = parameter.default is parameter.empty
    told = _by_meaning(parameter, mechanism, axes)
    if told is not None and told[0] == _WINDOW:
        # One number may be the side of a square, or count the tokens of a sequence.
        return [(_WINDOW, 0.0), ("tokens", 0.4), ("height", 0.5)]
    if told is not None and told[0] == _RESOLUTION:
        return [(_RESOLUTION, 0.0), (_RESOLUTIONS, 0.4)]
    if told is not None and told[0] == _LONGEST:
        exact = [] if _AT_MOST.search(parameter.name.lower()) else [(_LENGTH, 0.2)]
        return [(_LONGEST, 0.0), *exact, *([] if required else [(None, 0.5)])]
    if told is not None:
        expression, cost_of_default = told
        left = [] if required or cost_of_default is None else [(None, cost_of_default)]
        return [(expression, 0.0), *left]
    name = parameter.name.lower()
    if not required and parameter.default is None and name in CONFIGS:
        # What may be left out at construction may be read in the call.
        return [(None, 0.0), (_LEAST_CONFIG, 0.3)]
    likely = [a for a in axes_for(name) if a in axes]
    found: list[tuple[str | None, float]] = [(axis, 0.1 * i) for i, axis in enumerate(likely)]
    if likely[:1] == ["height"] and "width" in axes and name not in SIDES:
        # A map's size is one number or two.
        found.append((_MAP, -0.1 if re.search("tuple|sequence", str(parameter.annotation), re.I) else 0.2))
    if {"channels", "reduction"} <= set(axes) and "reduced" not in axes:
        found = _squeezed(parameter, found, axes)
    if name in INNER and {"heads", "head_dim"} <= set(axes):
        found.insert(0, ("heads * head_dim", 0.0))
    if required and likely[:1] == ["heads"] and "head" in name:
        # With one head for want of another number, what heads do to each other would go unseen.
        return found
    if required:
        found += [(a, 1.0 + 0.1 * i) for i, a in enumerate(x for x in axes if x not in likely)]
        return [*found, *((c, 3.0) for c in _CONSTANTS)]
    if not found and _is_count(parameter) and not _PIECES.search(name):
        # A name that tells nothing may be any size all the same, but for those that only a call has.
        built = [axis for axis in axes if axis in constructor_axes(mechanism)]
        return [(None, 0.0), *((a, 1.0 + 0.1 * i) for i, a in enumerate(built))]
    if not (_is_size(parameter) or found[:1] == [(_RATIO, 0.0)]) or not found:
        return [(None, 0.0)]
    return [*found[:2], (None, 0.6)]


def _by_meaning(
    parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]
) -> tuple[str, float | None] | None:
    """The one expression that an argument wants by its name, and what its default costs instead, if it may stay."""
    name, default = parameter.name.lower(), parameter.default
    rate = is_dropout(name) or (name == "rate" and default == 0.0)
    if rate and (default is parameter.empty or isinstance(default, (bool, int, float))):
        # A flag lets through a rate that another argument names.
        return ("dropout > 0" if isinstance(default, bool) else "dropout"), None
    layer = _layer(parameter, mechanism, axes) if default is parameter.empty else None
    if layer is not None:
        return layer, None
    options = {o.name: o.values for o in mechanism.contract.options}
    if name in CAUSAL and "causal" in options:
        return "causal", 1.0
    if name in options and (not isinstance(default, str) or default in options[name]):
        return name, 0.5
    if name in OPTIONS["bias"] and "bias" in options and isinstance(default, bool):
        return "bias", 0.5
    if name in KV_HEADS and "heads" in axes:
        return "heads", 0.5
    if name in LENGTHS and "q_len" in signature_of(mechanism).axes:
        return _LONGEST, 0.5
    if name in WINDOWS and "height" in options and "tokens" in axes:
        return _WINDOW, None
    if "height" in options and "tokens" in axes and name in (*SIDES, *ACROSS):
        return ("height" if name in SIDES else "tokens // height"), None
    if name in KERNELS and "branches" in axes:
        return "list(range(3, 3 + 2 * branches, 2))", 0.5
    if name in BLOCKS and mechanism.id == "modified_resnet":
        return "(2, 3, 1, 1)", None
    if name in RESOLUTIONS and mechanism.id == "modified_resnet":
        return _RESOLUTION, None
    if name in FACTORS and "head_dim" in axes and default is not None:
        return FACTORS[name], 0.2
    if name in SOFT_CAP and "soft_cap" in options:
        return "soft_cap", 0.5
    return None


def _layer(parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]) -> str | None:
    """A layer that a target wants handed in, by the role that its name tells."""
    role = layer_role(parameter.name)
    if role is None or not re.search(r"Module|Linear|Conv", str(parameter.annotation)):
        return None
    if {"model_dim", "heads"} <= set(axes):
        inner = "heads * head_dim"
        return (
            f"torch.nn.Linear({inner}, model_dim)"
            if role == "output"
            else f"torch.nn.Linear(model_dim, {inner})"
        )
    if {"channels", "reduced"} <= set(axes) and any(o.name == "rank" for o in mechanism.contract.options):
        kind = "(torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[rank - 1]"
        return f"{kind}(reduced, channels, 1)" if role == "output" else f"{kind}(channels, reduced, 1)"
    return None


def _squeezed(
    parameter: inspect.Parameter, found: list[tuple[str | None, float]], axes: tuple[str, ...]
) -> list[tuple[str | None, float]]:
    """The squeezed width where an argument asks for it, or the ratio that leaves it."""
    name = parameter.name.lower()
    meanings = axes_for(name)
    if isinstance(parameter.default, float) and 0 < parameter.default < 1:
        return [(_RATIO, 0.0)] if "reduction" in meanings else []
    if "reduced" in meanings and "channels" not in meanings:
        bounded = "max(channels // reduction, least_reduced)"
        # A squeeze is a width, or what the channels are divided by.
        ratio = [("reduction", 0.4)] if name == "squeeze" else []
        return [(bounded if "least_reduced" in axes else "channels // reduction", 0.0), *ratio, *found]
    return found


def _is_size(parameter: inspect.Parameter) -> bool:
    return parameter.default is None or _is_count(parameter)


def _is_count(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, int) and not isinstance(parameter.default, bool)


def _combined(
    choices: Mapping[str, list[tuple[str | None, float]]], given: Mapping[str, str]
) -> Iterator[Construction]:
    """Combinations by rising cost; two arguments of one size cost extra."""
    names = list(choices)
    limited = [choices[n][: 8 if len(names) < 5 else 4] for n in names]
    ranked = []
    for combination in itertools.islice(itertools.product(*limited), 20_000):
        values = [e for e, _ in combination if e is not None]
        sizes = [v for v in values if v not in (*_CONSTANTS, "dropout", "dropout > 0")]
        # A constant where a size is wanted hides as much as a size that is there twice.
        settled = sum(
            1 for name, (e, _) in zip(names, combination, strict=True) if e in _CONSTANTS and axes_for(name)
        )
        repeated = len(sizes) - len(set(sizes)) + settled
        ranked.append((sum(c for _, c in combination) + 0.7 * repeated, repeated, combination))
    ranked.sort(key=lambda pair: pair[0])
    for cost, repeated, combination in ranked[: 2 * _MOST]:
        arguments = {n: e for n, (e, _) in zip(names, combination, strict=True) if e is not None}
        takes = tuple(e for e in ("causal", "bias", "dropout", "soft_cap") if e in arguments.values())
        takes += ("height",) if {_WINDOW, "height"} & set(arguments.values()) else ()
        yield Construction(
            {**arguments, **given}, cost, takes=takes, repeated=repeated, assigned=tuple(arguments.values())
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
        fields |= dict.fromkeys(LENGTHS, _LONGEST)
    # A configuration that says nothing of them lets them follow from the others.
    defaults = {"head_dim": "model_dim // heads", "v_dim": "model_dim // heads"}
    for axis, expression in {**dict(mechanism.contract.defaults.items()), **defaults}.items():
        if axis in mechanism.contract.defaults:
            fields = {n: (e if e != axis else expression) for n, e in fields.items()}
    flags = {"bias": "True", "qkv_bias": "True", "attention_bias": "True", "use_bias": "True", "attn_bias": "True",
             "causal": "False", "is_causal": "False", "is_decoder": "False", "_attn_implementation": "'eager'"}  # fmt: skip
    assigned = tuple(e for e in dict.fromkeys(fields.values()) if e not in mechanism.contract.defaults)
    # What its own configuration says beside, such as flags that no other has.
    fields_of_its_own = (f for f in fields_said(target, parameter) if f.default is not f.empty)
    said = {f.name: repr(f.default) for f in fields_of_its_own if not is_dropout(f.name)}
    return Construction(
        {**said, **fields, **flags}, -0.5, config=parameter.name, takes=("dropout",), assigned=assigned
    )
