"""A tensor as a recipe: shape, kind, seed and edits. Recipes travel; tensors are made on arrival."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "normal",  # inputs: unit normal, of uneven magnitude from sample to sample
    "weight",  # parameters: normal, so that a layer keeps the magnitude of its input
    "vector",  # biases and gates: normal, half a unit wide
    "positive",  # scales and variances: between 1/2 and 3/2
    "lengths",  # whole numbers from 1 to `scale`
    "random_mask",  # every row has a visible key, samples differ
    "padding_mask",  # each sample shows a prefix of its keys
    "mixed_mask",  # a random mask for all samples, and a prefix of the keys of each
    "last_key_mask",  # all but the last key
    "full_mask",  # all True
    "one_dead_row_mask",  # a random mask whose first query of the first sample may attend to nothing
    "dead_row_mask",  # a random mask whose first query may attend to nothing
]
Layout = Literal["contiguous", "transposed", "offset", "expanded", "expanded_copy", "channels_last"]


@dataclass(frozen=True)
class Edit:
    """One change of a tensor, by name and numbers. `strategies.tensors` knows how to make it.

    op          axis  argument
    permute     d     seed of the permutation of axis d
    take        d     index of the one entry of axis d that stays
    narrow      d     length: only the first entries of axis d stay
    repeat      d     times: the whole axis is repeated behind itself
    mean        d     -        every entry of axis d becomes the mean along it
    scale       -     factor
    add         -     number added to every entry
    at_most     -     number that no entry is to exceed
    shift       d     seed: the same random slice is added at every entry of axis d
    zero        -     -
    identity    -     -          ones on the diagonal of a matrix
    share       heads  groups: of the first axis, cut into heads, the first head of each group stands for all of it
    renew       -     seed: fresh values
    renew_from  d     (index, seed): fresh values from that entry of axis d on
    renew_at    d     (index, seed): fresh values at one entry of axis d
    fill_from   d     (index, value): that value from the entry on
    flip        d     -
    swap        d     other axis
    shuffle     d     seed: axis d and all behind it are permuted together, as one axis
    shuffle_from  d   (index, seed): the entries of axis d from the index on are permuted
    renew_place d     (row, column, seed): fresh values at one place of axes d and d + 1
    renew_but   d     (index, seed): fresh values at all entries of axis d but one
    level       d     -        over axis d and all behind it: all but the largest become their mean
    pad         d     zeros before and behind axis d
    put         d     (index, value): that value at one entry of axis d
    absolute    -     -
    stir        -     seed: random values are added, the same to tensors of one shape
    nudge       -     (part, seed): every entry grows or shrinks by that part of itself
    """

    op: str
    axis: int | None = None
    argument: float | tuple[float, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """How to make one tensor; equal recipes make equal tensors in every process.

    `rounded` names a dtype that the values pass through first: what a low precision can hold,
    kept in a high one.
    """

    shape: tuple[int, ...]
    kind: Kind
    seed: int
    dtype: str = "float64"
    scale: float = 1.0
    edits: tuple[Edit, ...] = ()
    layout: Layout = "contiguous"
    rounded: str = ""

    def edit(
        self, op: str, axis: int | None = None, argument: float | tuple[float, ...] | None = None
    ) -> "Recipe":
        """The recipe with one more edit behind the others."""
        return replace(self, edits=(*self.edits, Edit(op, axis, argument)))

    def to_json(self) -> list[object]:
        """As it travels."""
        edits = [[e.op, e.axis, e.argument] for e in self.edits]
        return [self.shape, self.kind, self.seed, self.dtype, self.scale, edits, self.layout, self.rounded]

    @staticmethod
    def from_json(data: list[object]) -> "Recipe":
        """The recipe that `to_json` wrote."""
        shape, kind, seed, dtype, scale, edits, layout, rounded = data
        return Recipe(
            tuple(shape), kind, seed, dtype, scale,  # type: ignore[arg-type]  # our own format
            tuple(Edit(op, axis, tuple(a) if isinstance(a, list) else a) for op, axis, a in edits),  # type: ignore[attr-defined]  # ours
            layout, rounded,  # type: ignore[arg-type]  # our own format
        )  # fmt: skip


Recipes = Mapping[str, Recipe]
