"""What a proof is asked: a callable, the axes of its tensors, and the sizes it is legal for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from attncheck.shapes.expressions import names_in

# The words of a proof, here for those who must not load the prover.
ALL_SIZES = "for all sizes >= 1"

Shape = tuple[str, ...]
Sizes = Mapping[str, int]
Forward = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Question:
    """Does `build(sizes)` answer `inputs` with a tensor of the dimensions `output`?

    Dimensions are Python expressions over axis names. `fixed` axes have one size, `constructor`
    axes reach `build` as symbols too; `legal` are conditions that a caller has to keep.
    `kinds` names the inputs that hold no floats: `bool` or `int`.
    """

    build: Callable[[Sizes], Forward]
    inputs: Mapping[str, Shape]
    output: Shape
    dtype: torch.dtype = torch.float32
    fixed: Sizes = field(default_factory=dict)
    legal: tuple[str, ...] = ()
    constructor: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """Every axis that has no fixed size, in order of appearance."""
        dims = [dim for shape in self.inputs.values() for dim in shape]
        seen = [*self.constructor, *(name for dim in dims for name in names_in(dim))]
        return tuple(name for name in dict.fromkeys(seen) if name not in self.fixed)

    @property
    def domain(self) -> tuple[str, ...]:
        """The conditions that make an assignment of sizes a legal one."""
        dims = dict.fromkeys(dim for shape in self.inputs.values() for dim in shape)
        derived = [f"{dim} >= 1" for dim in dims if not dim.isidentifier() and names_in(dim)]
        return (*(f"{axis} >= 1" for axis in self.axes), *derived, *self.legal)

    def dtype_of(self, name: str) -> torch.dtype:
        """The dtype of one input."""
        kind = self.kinds.get(name, "float")
        return {"float": self.dtype, "bool": torch.bool, "int": torch.int64}[kind]
