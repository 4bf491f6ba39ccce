"""Layers of a module: tensors that belong together, by their names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from attncheck.targets.names import layer_role

Shape = tuple[int, ...]

_LEAF = re.compile(r"^(.*?)[._]?(weight|bias|running_mean|running_var)$")


@dataclass(frozen=True)
class Layer:
    """Tensors that belong together: a weight, its bias, perhaps running statistics."""

    path: str
    tensors: Mapping[str, tuple[str, Shape]]

    @property
    def main(self) -> tuple[str, Shape]:
        """Name and shape of the tensor that tells most: the weight, or the only one."""
        return self.tensors.get("weight") or next(iter(self.tensors.values()))


def layers(shapes: Mapping[str, Shape]) -> list[Layer]:
    """Tensors grouped by their layer, in order of registration."""
    grouped: dict[str, dict[str, tuple[str, Shape]]] = {}
    for name, shape in shapes.items():
        match = _LEAF.match(name)
        path, leaf = (match.group(1), match.group(2)) if match else (name, "weight")
        grouped.setdefault(path, {})[leaf] = (name, shape)
    for tensors in grouped.values():
        if list(tensors) == ["bias"]:
            # What is called a bias and belongs to no weight may be a tensor of any kind: a table of biases, say.
            tensors["weight"] = tensors.pop("bias")
    _bring_home(grouped)
    return [Layer(path, tensors) for path, tensors in grouped.items()]


def _bring_home(grouped: dict[str, dict[str, tuple[str, Shape]]]) -> None:
    """Put statistics that stand apart, as of a norm spelled out, beside the one vector that they can belong to."""
    for path in [path for path, tensors in grouped.items() if "weight" not in tensors]:
        (_, shape), *_ = grouped[path].values()
        homes = [
            other for other, own in grouped.items()
            if "weight" in own and own["weight"][1] == shape and not any(leaf.startswith("running") for leaf in own)
        ]  # fmt: skip
        if len(homes) == 1 and len(shape) == 1:
            grouped[homes[0]] |= grouped.pop(path)


def learned_shapes(built: nn.Module) -> dict[str, Shape]:
    """Names and shapes of what a module learns, and of the statistics that its norms keep.

    A tensor that stands in for several layers of a list, or of different roles, has all its names:
    that it is shared is then for the judge to say. An alias of another kind has but the first.
    """
    names: dict[int, list[str]] = {}
    shapes: dict[str, Shape] = {}
    for name, tensor in _learned(built):
        first = names.setdefault(id(tensor), [])
        if not first or _takes_another_place(name, first[0]):
            shapes[name] = tuple(tensor.shape)
            first.append(name)
    return shapes


def _learned(built: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((n, p) for n, p in built.named_parameters(remove_duplicate=False) if p.requires_grad)
    statistics = ("running_mean", "running_var")
    yield from ((n, b) for n, b in built.named_buffers(remove_duplicate=False) if n.endswith(statistics))


def _takes_another_place(name: str, other: str) -> bool:
    if re.sub(r"\d+", "", name) == re.sub(r"\d+", "", other):
        return True
    told, known = (layer_role(n.rpartition(".")[0]) for n in (name, other))
    return told is not None and known is not None and told != known


def elements(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
