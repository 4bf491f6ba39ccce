"""Tensors that were made of recipes, kept while there is room: many questions use the same ones."""

from dataclasses import dataclass, field

from torch import Tensor

from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import make


@dataclass
class Kept:
    """At most `room` numbers; the tensors that were not wanted for longest go first."""

    room: int = 2**21
    tensors: dict[tuple[Recipe, str], Tensor] = field(default_factory=dict)
    numbers: int = 0

    def shared(self, recipe: Recipe, device: str) -> Tensor:
        """The tensor for readers: whoever writes into it changes it for all."""
        tensor = self._found(recipe, device)
        if tensor is None:
            tensor = make(recipe, device)
            self._keep(recipe, device, tensor)
        return tensor

    def own(self, recipe: Recipe, device: str) -> Tensor:
        """The tensor for someone who may write into it, in memory of its own."""
        tensor = self._found(recipe, device)
        if tensor is None:
            tensor = make(recipe, device)
            # A copy of any other would lie otherwise in memory, and how it lies may be what is asked.
            if tensor.is_contiguous() and not tensor.storage_offset():
                self._keep(recipe, device, tensor.clone())
            return tensor
        return tensor.clone()

    def _found(self, recipe: Recipe, device: str) -> Tensor | None:
        tensor = self.tensors.pop((recipe, device), None)
        if tensor is not None:
            self.tensors[recipe, device] = tensor
        return tensor

    def _keep(self, recipe: Recipe, device: str, tensor: Tensor) -> None:
        if tensor.numel() > self.room:
            return
        self.numbers += tensor.numel()
        while self.numbers > self.room:
            self.numbers -= self.tensors.pop(next(iter(self.tensors))).numel()
        self.tensors[recipe, device] = tensor
