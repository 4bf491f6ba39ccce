"""Which mechanism a target may be: by its name, by what its code speaks of, and by what it takes."""

import re
from typing import Any

from torch import nn

from attncheck.shapes.catalogue import mechanisms
from attncheck.targets.making import code_of, is_constructor
from attncheck.targets.parameters import parameters_of
from attncheck.targets.signs import SIGNS, Signs
from attncheck.targets.tapping import function_of

# What a name is worth that names one mechanism, a name that may be several's, and code that shows every sign.
_NAMED, _HINTED, _WRITTEN = 5.0, 2.0, 4.0
# What it costs to take more or fewer inputs, and to have no room for weights that a mechanism has.
_OTHER_INPUTS, _NO_WEIGHTS = 3.0, 1.5
# A plain function with more arguments than these may well be handed weights.
_INPUTS = 3
# What is so much less likely than the likeliest is not tried.
_FAR = 4.5
_MOST = 5
# What is tried where nothing speaks for anything.
_USUAL = ("multi_head", "cross")


def likely_mechanisms(target: Any, name: str) -> dict[str, float]:
    """Ids of mechanisms that a target may be, the likeliest first, each with how much speaks for it."""
    words, code, inputs = _words(name), code_of(target).lower(), _inputs(target)
    learns = is_constructor(target) or isinstance(target, nn.Module)
    found: dict[str, float] = {}
    for mechanism in mechanisms():
        signs = SIGNS.get(mechanism.id) or Signs(mechanism.id.replace("_", "_?"), "^$", ())
        found[mechanism.id] = _spoken(signs, words, code)
        if inputs is not None:
            found[mechanism.id] -= _in_the_way(signs, inputs, learns, mechanism.module is not None)
    order = sorted(found, key=lambda m: -found[m])[:_MOST]
    least = max(0.0, found[order[0]] - _FAR)
    return {m: found[m] for m in order if found[m] > least} or dict.fromkeys(_USUAL, 0.0)


def _words(name: str) -> str:
    """The last part of a dotted name in lower case, its words parted by underscores."""
    last = name.rpartition(":")[2].rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()


def _inputs(target: Any) -> int | None:
    """How many arguments without a default a call takes; None if that cannot be told."""
    try:
        return len(
            [p for p in parameters_of(function_of(target)) if p.name != "self" and p.default is p.empty]
        )
    except TypeError:
        return None


def _spoken(signs: Signs, words: str, code: str) -> float:
    """What speaks for a mechanism: the name, and more than in proportion the signs in the code."""
    named = _NAMED if re.search(signs.name, words) else _HINTED if re.search(signs.hint, words) else 0.0
    shown = [re.search(sign, code, re.DOTALL) is not None for sign in signs.code]
    return named + (_WRITTEN * signs.weight * (sum(shown) / len(shown)) ** 2 if shown else 0.0)


def _in_the_way(signs: Signs, inputs: int, learns: bool, has_weights: bool) -> float:
    """What speaks against a mechanism: it takes another number of inputs, or has weights of its own."""
    least, most = signs.inputs
    against = 0.0 if least <= inputs and (inputs <= most or not learns) else _OTHER_INPUTS
    return against + (_NO_WEIGHTS if has_weights and not learns and inputs <= _INPUTS else 0.0)
