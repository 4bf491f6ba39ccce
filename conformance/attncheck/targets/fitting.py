"""One layer of a target for one of the reference: copied, transposed, or split by heads."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from attncheck.targets.layers import Layer, Shape, elements, squeezed
from attncheck.targets.names import layer_role
from attncheck.targets.placing import Placement
from attncheck.targets.rephrasing import rephrasings

HEADED_ROWS = ("query", "key", "value")


@dataclass(frozen=True)
class Fit:
    """One target layer filled by some reference layers."""

    roles: tuple[str, ...]
    placements: tuple[Placement, ...]
    covered: tuple[str, ...]
    cost: float
    named: bool


def single(layer: Layer, other: Layer, role: str | None, heads: int | None, distance: float) -> Iterator[Fit]:
    """A layer that is one of the reference's, or a lone tensor that is one of its tensors."""
    told = layer_role(other.path)
    cost = (
        0.0
        if role is not None and role == told
        else 3.0
        if role is not None and told is not None
        else 1.0 + distance
    )
    named = role is not None and role == told
    if len(layer.tensors) == 1 and len(other.tensors) > 1:
        pairs = [((next(iter(layer.tensors.values()))), tensor) for tensor in other.tensors.values()]
        for mine, wanted in pairs:
            for pattern, extra in _patterns(mine[1], wanted, other.path, heads, mine[0]):
                yield Fit(
                    (other.path,),
                    (Placement(mine[0], (wanted[0],), pattern),),
                    (wanted[0],),
                    cost + extra,
                    named,
                )
        return
    if not set(layer.tensors) <= set(other.tensors):
        return
    choices = []
    for leaf, mine in layer.tensors.items():
        choices.append(
            [
                (mine[0], other.tensors[leaf][0], p, c)
                for p, c in _patterns(mine[1], other.tensors[leaf], other.path, heads, mine[0])
            ]
        )
    for combination in itertools.product(*choices):
        placements = tuple(Placement(mine, (wanted,), pattern) for mine, wanted, pattern, _ in combination)
        extra = sum(c for *_, c in combination)
        yield Fit((other.path,), placements, tuple(w for _, w, _, _ in combination), cost + extra, named)


def _patterns(
    mine: Shape, wanted: tuple[str, Shape], path: str, heads: int | None, name: str
) -> Iterator[tuple[str, float]]:
    """Patterns that turn a reference tensor into one of the shape `mine`, each with a cost."""
    _, shape = wanted
    if "{}" in name and wanted[0] == "table":
        yield from _table_per_head(mine, shape)
        return
    if "|" in name:
        yield "", 0.2
        if len(shape) == 2:
            yield "o i -> i o", 0.3
        return
    if "{}" in name:
        yield from _per_head(mine, shape, path, heads)
        return
    if elements(mine) != elements(shape):
        return
    if squeezed(mine) == squeezed(shape):
        yield "", 0.0
    if wanted[0] == "inverse_width":
        # What it is by its name comes first: a number of another meaning is right in no other form.
        yield from ((pattern, -0.1) for pattern in rephrasings(name))
    if wanted[0] == "table" and len(shape) == 2:
        yield from _table(mine, shape)
    if wanted[0].endswith("position"):
        yield from _positions(mine, shape)
    kernel = len(mine) > 2 and mine[-1] == 1
    if len(shape) == 2 and not kernel and squeezed(mine) == squeezed(shape[::-1]):
        # Kernels of convolutions have one order.
        yield "o i -> i o", (1.5 if shape[0] == shape[1] else 0.0)
    if len(shape) > 2:
        yield from _kernel(mine, shape)
    if len(shape) == 2 and len(mine) == 3 and heads:
        yield from _split_heads(mine, shape, path, heads)
    if (
        len(shape) == 1
        and len(mine) == 2
        and heads
        and path in HEADED_ROWS
        and mine == (heads, shape[0] // heads)
    ):
        yield "", 0.0


def _table(mine: Shape, shape: Shape) -> Iterator[tuple[str, float]]:
    """A table of offsets, counted from either end or from offset zero; those of a window may have an axis each."""
    if mine[-1] == shape[1] and elements(mine[:-1]) == shape[0]:
        if mine != shape:
            yield "", 0.0
        yield from (("flip", 0.5), ("roll", 0.6), ("flip roll", 0.6))
    elif mine[0] == shape[1] and elements(mine[1:]) == shape[0]:
        if mine != shape[::-1]:
            yield "o i -> i o", 0.0
        yield from (
            (f"{moves} o i -> i o", cost)
            for moves, cost in (("flip", 0.5), ("roll", 0.6), ("flip roll", 0.6))
        )


def _positions(mine: Shape, shape: Shape) -> Iterator[tuple[str, float]]:
    """Positions of a token beside the pixels, which may stand behind them."""
    if squeezed(mine) == squeezed(shape):
        yield "last", 0.5
    elif squeezed(mine) == squeezed(shape[::-1]):
        yield "last o i -> i o", 0.5


def _kernel(mine: Shape, shape: Shape) -> Iterator[tuple[str, float]]:
    """A kernel with its channels last, or as a matrix over the patches that `unfold` gives: channels, then pixels."""
    window = " ".join("klm"[: len(shape) - 2])
    axes = f"i {window}"
    if squeezed(mine) != squeezed(shape):
        if mine == (*shape[2:], shape[1], shape[0]):
            yield f"o {axes} -> {window} i o", 0.3
        if mine == (shape[0], *shape[2:], shape[1]):
            yield f"o {axes} -> o {window} i", 0.4
    rows, columns = shape[0], elements(shape[1:])
    if mine in ((rows, columns), (columns,) if rows == 1 else ()) and squeezed(mine) != squeezed(shape):
        yield f"o {axes} -> o ({axes})", 0.2
    if mine == (columns, rows):
        yield f"o {axes} -> ({axes}) o", 0.4
    if rows == 1 and mine == (shape[1], elements(shape[2:])):
        yield f"o {axes} -> (o i) ({window})", 0.3


def _split_heads(mine: Shape, shape: Shape, path: str, heads: int) -> Iterator[tuple[str, float]]:
    if path in HEADED_ROWS and shape[0] % heads == 0:
        named = {"h": heads, "d": shape[0] // heads, "i": shape[1]}
        for target in ("h d i", "i h d", "h i d", "d h i", "i d h"):
            if tuple(named[a] for a in target.split()) == mine:
                yield f"(h d) i -> {target}", 0.2
    if path == "output" and shape[1] % heads == 0:
        named = {"h": heads, "d": shape[1] // heads, "o": shape[0]}
        for target in ("h d o", "o h d", "h o d", "d h o"):
            if tuple(named[a] for a in target.split()) == mine:
                yield f"o (h d) -> {target}", 0.2


def _table_per_head(mine: Shape, shape: Shape) -> Iterator[tuple[str, float]]:
    """A column of the table for each head, counted from either end."""
    if squeezed(mine) == squeezed(shape[::-1]):
        yield "o i -> i o", 0.0
        yield "flip o i -> i o", 0.1


def _per_head(mine: Shape, shape: Shape, path: str, heads: int | None) -> Iterator[tuple[str, float]]:
    """One tensor of the target for each head: the first axis of `mine` counts them."""
    if not heads or elements(mine) != elements(shape):
        return
    if path in HEADED_ROWS and shape[0] % heads == 0:
        if len(shape) == 2 and squeezed(mine[1:]) == squeezed((shape[0] // heads, shape[1])):
            yield "(h d) i -> h d i", 0.0
        elif len(shape) == 2 and squeezed(mine[1:]) == squeezed((shape[1], shape[0] // heads)):
            yield "(h d) i -> h i d", 0.3
        elif len(shape) == 1 and squeezed(mine[1:]) == squeezed((shape[0] // heads,)):
            yield "(h d) -> h d", 0.0
    if path == "output" and len(shape) == 2 and shape[1] % heads == 0:
        rows, width = shape[0], shape[1] // heads
        if mine[1:] == (rows, width):
            yield "o (h d) -> h o d", 0.3
        elif mine[1:] == (width, rows):
            yield "o (h d) -> h d o", 0.3
