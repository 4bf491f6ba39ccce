"""Layers of a module: tensors that belong together, by their names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from attncheck.targets.names import layer_role

Shape = tuple[int, ...]
# Paths of layers, each with its tensors by their leaves: "weight" and so on.
Grouped = dict[str, dict[str, tuple[str, Shape]]]

_LEAF = re.compile(r"^(.*?)[._]?(weight|bias|running_mean|running_var)$")
_STATISTIC = re.compile(r"^(.*?)[._]?(?:running|moving)?_?(?:(mean|mu)|var(?:iance)?)$")
# Behind the path of statistics that a layer of that path has no part in; no attribute is called so.
_APART = " statistics"
_SHORT = re.compile(r"^(.*[._])(w|b)$")
# What the factor and the shift of a norm that is spelled out are called, behind the name of the norm.
_FACTORS = ("weight", "w", "gamma", "g", "scale", "gain")
_SHIFTS = ("bias", "b", "beta", "shift", "offset")


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
    grouped: Grouped = {}
    told = statistics(shapes)
    for name, shape in shapes.items():
        match = _LEAF.match(name)
        path, leaf = (match.group(1), match.group(2)) if match else (name, "weight")
        path, leaf = told.get(name, (path, leaf))
        grouped.setdefault(path, {})[leaf] = (name, shape)
    for tensors in grouped.values():
        if list(tensors) == ["bias"]:
            # What is called a bias and belongs to no weight may be a tensor of any kind: a table of biases, say.
            tensors["weight"] = tensors.pop("bias")
    _join_short(grouped)
    _bring_home(grouped)
    return [Layer(path, tensors) for path, tensors in grouped.items()]


def first_of_two_outputs(shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    """The output layer of torch's own attention, which another layer may follow."""
    packed = [name.removesuffix("in_proj_weight") for name in shapes if name.endswith("in_proj_weight")]
    return tuple(name for name in shapes if name.startswith(tuple(f"{path}out_proj." for path in packed)))


def statistics(shapes: Mapping[str, Shape]) -> dict[str, tuple[str, str]]:
    """Running means and variances, each with the norm that keeps it and the leaf it would be there."""
    told = {name: match.groups() for name in shapes if (match := _STATISTIC.match(name))}
    return {
        name: (path, "running_mean" if mean else "running_var")
        for name, (path, mean) in told.items()
        if any(other == path and shapes[n] == shapes[name] for n, (other, _) in told.items() if n != name)
    }


def _bring_home(grouped: Grouped) -> None:
    """Put statistics that stand apart, as of a norm spelled out, beside the vectors that they can belong to."""
    for path in _apart(grouped):
        (_, shape), *_ = grouped[path].values()
        norm = path.removesuffix(_APART)
        factor, shift = (
            _beside(grouped, norm, shape, words) or _alone(grouped, shape, words)
            for words in (_FACTORS, _SHIFTS)
        )
        if factor is not None and shift is not None and len(grouped[shift]) == 1:
            grouped[factor]["bias"] = grouped.pop(shift)["weight"]
        if factor is not None and "bias" in grouped[factor]:
            grouped[factor] |= grouped.pop(path)
            continue
        homes = [
            other for other, own in grouped.items()
            if "weight" in own and own["weight"][1] == shape and not any(leaf.startswith("running") for leaf in own)
        ]  # fmt: skip
        if len(homes) == 1 and len(shape) == 1:
            grouped[homes[0]] |= grouped.pop(path)


def _apart(grouped: Grouped) -> list[str]:
    """Paths of statistics alone; those that lie beside the weight of another layer by name are given one."""
    for path, tensors in list(grouped.items()):
        moments = [leaf for leaf in tensors if leaf.startswith("running")]
        if moments and "weight" in tensors and tensors["weight"][1] != tensors[moments[0]][1]:
            grouped[path + _APART] = {leaf: tensors.pop(leaf) for leaf in moments}
    return [path for path, tensors in grouped.items() if "weight" not in tensors]


def _beside(grouped: Grouped, norm: str, shape: Shape, words: tuple[str, ...]) -> str | None:
    """The path of a vector of this shape, without statistics, that has the name of a norm and one of these words."""
    names = [f"{norm}{dot}{word}".lstrip("._") for word in words for dot in "._"]
    vectors = (n for n in names if n in grouped and "running_mean" not in grouped[n])
    return next((n for n in vectors if grouped[n].get("weight", ("", ()))[1] == shape), None)


def _alone(grouped: Grouped, shape: Shape, words: tuple[str, ...]) -> str | None:
    """The path of the only vector of this shape that is called by one of these words, wherever it lies."""
    vectors = [
        path for path, own in grouped.items()
        if re.split(r"[._]", path)[-1] in words and own.get("weight", ("", ()))[1] == shape and "running_mean" not in own
    ]  # fmt: skip
    return vectors[0] if len(vectors) == 1 else None


def _join_short(grouped: Grouped) -> None:
    """Make one layer of `x_w` and `x_b`."""
    for path in list(grouped):
        match = _SHORT.match(path)
        if match is None or path not in grouped:
            continue
        other = f"{match.group(1)}b"
        if other != path and other in grouped and grouped[path].keys() == grouped[other].keys() == {"weight"}:
            rows, (_, bias) = grouped[path]["weight"][1][:1], grouped[other]["weight"]
            if bias == rows:
                grouped[path]["bias"] = grouped.pop(other)["weight"]


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
    buffers = dict(built.named_buffers(remove_duplicate=False))
    kept = statistics({name: tuple(buffer.shape) for name, buffer in buffers.items()})
    yield from ((name, buffer) for name, buffer in buffers.items() if name in kept)


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
