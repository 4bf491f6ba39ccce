"""What an argument of a network of stages wants: blocks in each stage, widths and strides, an image's size."""

import inspect

from attncheck.targets.names import (
    ACROSS,
    BLOCKS,
    GRIDS,
    HEAD_WIDTHS,
    RESOLUTIONS,
    STAGE_STRIDES,
    STAGE_WIDTHS,
    axes_for,
)
from attncheck.targets.parameters import is_pair, is_series

# What a network shrinks an image by: the stem, the pool behind it and all stages but the first halve it.
_SHRINKS = "2 ** (stages + 1)"
GRID_SIDE = f"(height + 1) // {_SHRINKS}"
GRID = f"({GRID_SIDE}, {GRID_SIDE.replace('height', 'width')})"
# The reference rounds up where CLIP rounds down: of a map of 32·n - 1 pixels n are left.
IMAGE_SIDE = f"{GRID_SIDE} * {_SHRINKS}"
IMAGE = f"({IMAGE_SIDE}, {IMAGE_SIDE.replace('height', 'width')})"
# Images of which nothing is left over on the way: some networks take no others.
EVENLY_SHRUNK = ("height % (2 * 2 ** stages) == 0", "width % (2 * 2 ** stages) == 0")
LAST_STAGE = "hidden * 2 ** (stages - 1)"
HEADS_OF_BOTTLENECKS = f"{LAST_STAGE} * 4 // heads"


def of_a_network(parameter: inspect.Parameter) -> str | None:
    """What an argument of a network of stages wants, if its name tells: blocks in each stage, an image's size, …"""
    name = parameter.name.lower()
    if name in STAGE_WIDTHS and is_series(parameter):
        return "(hidden, hidden * 2, hidden * 4, hidden * 8)[:stages]"
    if name in STAGE_STRIDES and is_series(parameter):
        return "(1, 2, 2, 2)[:stages]"
    if _counts_blocks(parameter):
        return "(2, 3, 1, 1)[:stages]"
    if name in ACROSS and "hidden" not in axes_for(name):
        return IMAGE_SIDE.replace("height", "width")
    if "stem" in name:
        return "hidden"
    if name in (
        "embed_dim",
        "embedding_dim",
        "dim_out",
        "dim_embed",
        "num_features",
        "feature_dim",
        "n_features",
    ):
        return "classes"
    if name in HEAD_WIDTHS:
        return HEADS_OF_BOTTLENECKS
    if name in GRIDS:
        return GRID if is_pair(parameter) else GRID_SIDE
    return IMAGE_SIDE if name in RESOLUTIONS else None


def _counts_blocks(parameter: inspect.Parameter) -> bool:
    """Whether an argument is how many blocks each stage has, by its default or else by its name."""
    default, told = parameter.default, BLOCKS.search(parameter.name.lower()) is not None
    if default in (parameter.empty, None):
        return told
    # Four by default, or as many as the author's own networks have.
    counts = isinstance(default, (tuple, list)) and {type(n) for n in default} == {int}
    return counts and (told or len(default) == 4)
