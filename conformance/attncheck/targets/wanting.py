"""What one argument of a constructor may want: expressions over sizes and options, the likeliest first."""

import inspect
import re
from collections.abc import Sequence

from attncheck.targets.adapter import constructor_axes, signature_of
from attncheck.targets.names import (
    ACROSS,
    CAUSAL,
    CONFIGS,
    FACTORS,
    HEAD_WIDTHS,
    INNER,
    KERNELS,
    KV_HEADS,
    LENGTHS,
    OPTIONS,
    SIDES,
    SOFT_CAP,
    WINDOWS,
    axes_for,
    is_dropout,
    layer_role,
)
from attncheck.targets.parameters import is_count, is_pair
from attncheck.targets.stages import (
    GRID,
    GRID_SIDE,
    HEADS_OF_BOTTLENECKS,
    IMAGE,
    IMAGE_SIDE,
    LAST_STAGE,
    of_a_network,
)
from attnref import Mechanism

# Expressions with their costs; None leaves an argument at its default.
Choices = list[tuple[str | None, float]]

# What an argument that tells nothing may want, after every size was tried.
CONSTANTS = ("True", "0.0", "None", "1")
# What a configuration beside the sizes is read for.
_LEAST_CONFIG = "SimpleNamespace(_attn_implementation='eager')"
# Neither int() nor round() of channels times this ratio is anything but channels // reduction.
_RATIO = "(channels // reduction + 0.25) / channels"
KERNELS_OF_BRANCHES = "list(range(3, 3 + 2 * branches, 2))"
_LENGTH = "max(q_len, kv_len)"
# A table or a mask is as long as the longest sequence, which few are; some are.
LONGEST = f"{_LENGTH} + q_len % 3"
_AT_MOST = re.compile("max|longest|block|context|ctx|position")
_COUNTS = re.compile("^max_|^n(um)?_|len|_size$|positions?$")
_MAP = "(height, width)"
_ACROSS = "tokens // height"
WINDOW = f"(height, {_ACROSS})"
# How large the pieces are in which a target works, or what it keeps: mistakes show only past them.
_PIECES = re.compile(
    "chunk|block|tile|piece|split|slice|bucket|buffer|cache|batch|step|iter|seed|depth|layer|dilat"
)
# What else the one expression that a name tells may be.
_OTHERWISE: dict[str, Choices] = {
    # One number may be the side of a square, or count the tokens of a sequence.
    WINDOW: [("tokens", 0.4), ("height", 0.5)],
    # Some take any size, and no image of another.
    IMAGE_SIDE: [(IMAGE, 0.4), (_MAP, 0.5)],
    # The side of a window, or how wide a token is.
    _ACROSS: [("model_dim", 0.4)],
    # The first layers of a network may be half as wide as its first stage.
    "hidden": [("hidden // 2", 0.4)],
    # As wide as the last stage are the channels that the heads of a network share, by its kind of block.
    HEADS_OF_BOTTLENECKS: [(f"{LAST_STAGE} // heads", 0.4)],
    GRID_SIDE: [(GRID, 0.4)],
}


def choices_for(parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]) -> Choices:
    """Expressions for one argument, by what its name tells or else by the sizes that there are."""
    told = _by_meaning(parameter, mechanism, axes)
    return _by_size(parameter, mechanism, axes) if told is None else _as_told(parameter, *told)


def whole_for(parts: Sequence[str], mechanism: Mechanism, axes: tuple[str, ...]) -> str | None:
    """What an argument wants that is taken apart: the sides of what the mechanism is built for, and its channels."""
    sides = _sides(mechanism, axes)
    if sides is None or "channels" not in axes or len(parts) != 3:
        return sides if len(parts) == 2 else None
    return f"(channels, *{sides})" if "channels" in axes_for(parts[0].lower()) else f"(*{sides}, channels)"


def _sides(mechanism: Mechanism, axes: tuple[str, ...]) -> str | None:
    if mechanism.id == "modified_resnet":
        return IMAGE
    if "tokens" in axes and any(option.name == "height" for option in mechanism.contract.options):
        return WINDOW
    return _MAP if {"height", "width"} <= set(axes) else None


def _as_told(parameter: inspect.Parameter, expression: str, cost_of_default: float | None) -> Choices:
    others = _OTHERWISE.get(expression, [])
    if expression == LONGEST and not _AT_MOST.search(parameter.name.lower()):
        others = [(_LENGTH, 0.2)]
    stays = parameter.default is not parameter.empty and cost_of_default is not None
    return [(expression, 0.0), *others, *([(None, cost_of_default or 0.0)] if stays else [])]


def _by_size(parameter: inspect.Parameter, mechanism: Mechanism, axes: tuple[str, ...]) -> Choices:
    required = parameter.default is parameter.empty
    name = parameter.name.lower()
    if not required and parameter.default is None and name in CONFIGS:
        # What may be left out at construction may be read in the call.
        return [(None, 0.0), (_LEAST_CONFIG, 0.3)]
    pair = is_pair(parameter) or re.search("tuple|sequence", str(parameter.annotation), re.I)
    # Two numbers without a name that tells are the sides of a map; of a network, those of its images.
    sides = pair and "height" in axes and mechanism.id != "modified_resnet"
    likely = [a for a in axes_for(name) if a in axes] or ["height"] * bool(sides)
    found: Choices = [(axis, 0.1 * i) for i, axis in enumerate(likely)]
    if likely[:1] == ["height"] and "width" in axes and name not in SIDES:
        # A map's size is one number or two.
        found.insert(0, (_MAP, -0.1)) if pair else found.append((_MAP, 0.2))
    squeezes = {"channels", "reduction"} <= set(axes) and "reduced" not in axes
    if squeezes:
        found = _squeezed(parameter, found, axes)
    if name in INNER and {"heads", "head_dim"} <= set(axes):
        found.insert(0, ("heads * head_dim", 0.0))
    if required and likely[:1] == ["heads"] and "head" in name:
        # With one head for want of another number, what heads do to each other would go unseen.
        return found
    if required:
        if not likely and mechanism.id == "modified_resnet":
            # What tells nothing may well be the size of the image: no other size has so many names.
            found += [(IMAGE_SIDE, 0.5), (IMAGE, 0.6)]
        found += [(a, 1.0 + 0.1 * i) for i, a in enumerate(x for x in axes if x not in likely)]
        # What counts is no flag, and one of it would hide what several do to each other.
        return found if _COUNTS.search(name) else [*found, *((c, 3.0) for c in CONSTANTS)]
    if not found and is_count(parameter) and not _PIECES.search(name):
        # A name that tells nothing may be any size all the same, but for those that only a call has.
        built = [axis for axis in axes if axis in constructor_axes(mechanism)]
        width = [(_width(axes), 0.9)] if squeezes else []
        return [(None, 0.0), *width, *((a, 1.0 + 0.1 * i) for i, a in enumerate(built))]
    if not (_is_size(parameter) or found[:1] == [(_RATIO, 0.0)]) or not found:
        return [(None, 0.0)]
    # One width of several may be that of the squeeze, whatever it is called.
    squeezed = [("reduced", 0.8)] if is_count(parameter) and "reduced" in axes else []
    return [*found[:2], (None, 0.6), *(choice for choice in squeezed if "reduced" not in likely)]


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
    if name == "device" and default is parameter.empty:
        return "'cpu'", None
    if name in CAUSAL and "causal" in options:
        return "causal", 1.0
    if name in options and (not isinstance(default, str) or default in options[name]):
        return name, 0.5
    if name in OPTIONS["bias"] and "bias" in options and isinstance(default, bool):
        return "bias", 0.5
    if name in KV_HEADS and "heads" in axes:
        return "heads", 0.5
    if name in LENGTHS and "q_len" in signature_of(mechanism).axes:
        return LONGEST, 0.5
    if name in WINDOWS and "height" in options and "tokens" in axes:
        return WINDOW, None
    if "height" in options and "tokens" in axes and name in (*SIDES, *ACROSS):
        return ("height" if name in SIDES else _ACROSS), None
    if "branches" in axes and are_kernels(parameter):
        return KERNELS_OF_BRANCHES, 0.5
    network = of_a_network(parameter) if mechanism.id == "modified_resnet" else None
    if network is not None:
        return network, None
    if name in HEAD_WIDTHS and "heads" in axes and "head_dim" not in axes:
        return f"{'channels' if 'channels' in axes else 'model_dim'} // heads", 0.5
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


def _squeezed(parameter: inspect.Parameter, found: Choices, axes: tuple[str, ...]) -> Choices:
    """The squeezed width where an argument asks for it, or the ratio that leaves it."""
    name = parameter.name.lower()
    meanings = axes_for(name)
    if isinstance(parameter.default, float) and 0 < parameter.default < 1:
        return [(_RATIO, 0.0)] if "reduction" in meanings else []
    if "reduced" in meanings and "channels" not in meanings:
        # A squeeze is a width, or what the channels are divided by.
        ratio = [("reduction", 0.4)] if name == "squeeze" else []
        return [(_width(axes), 0.0), *ratio, *found]
    if "reduced" in meanings and is_count(parameter):
        # As wide as the channels is what comes first in a signature, and has no default.
        return [(_width(axes), 0.0), *found]
    return found


def _width(axes: tuple[str, ...]) -> str:
    """The squeezed width: of the channels that a gate stands behind."""
    squeezed = f"{'out_channels' if 'out_channels' in axes else 'channels'} // reduction"
    return f"max({squeezed}, least_reduced)" if "least_reduced" in axes else squeezed


def _is_size(parameter: inspect.Parameter) -> bool:
    return parameter.default is None or is_count(parameter) or is_pair(parameter)


def are_kernels(parameter: inspect.Parameter) -> bool:
    """Whether an argument is a kernel for each branch: by its name, or by a default of which each is wider."""
    default = parameter.default
    if parameter.name.lower() in KERNELS:
        return True
    several = isinstance(default, (tuple, list)) and len(default) > 1 and {type(n) for n in default} == {int}
    return several and all(n % 2 for n in default) and default[0] > 1 and sorted({*default}) == [*default]
