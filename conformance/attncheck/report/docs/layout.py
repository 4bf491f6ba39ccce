"""Where the boxes of a data flow stand: layers from top to bottom, arranged so that arrows are short."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GAP = 26
_SWEEPS = 12


@dataclass
class Node:
    """A box, or the bend of an arrow that passes a layer, with the room that it needs beside its middle."""

    id: str
    layer: int
    left: float
    right: float
    x: float = 0.0
    into: list[str] = field(default_factory=list)
    out_of: list[str] = field(default_factory=list)

    @property
    def is_bend(self) -> bool:
        return "@" in self.id


@dataclass(frozen=True)
class Box:
    """What is to be placed: its name, the room it needs, and whose results lead into it."""

    id: str
    left: float
    right: float
    reads: tuple[str, ...] = ()


def arrange(boxes: Sequence[Box]) -> dict[str, Node]:
    """Every box and bend with its layer and its middle; what is read stands above what reads it."""
    layers = _layers({box.id: box.reads for box in boxes})
    nodes = {box.id: Node(box.id, layers[box.id], box.left, box.right) for box in boxes}
    for box in boxes:
        for source in dict.fromkeys(box.reads):
            _connect(nodes, source, box.id)
    rows = _rows(nodes)
    for sweep in range(_SWEEPS):
        _order(rows, nodes, downwards=sweep % 2 == 0)
    _place(rows, nodes)
    return nodes


def _layers(reads: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """A box stands below all it reads; what reads nothing stands just above its first reader."""
    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max(map(measure, reads[name]), default=-1)
        return depth[name]

    for name in reads:
        measure(name)
    readers: dict[str, list[int]] = defaultdict(list)
    for name, sources in reads.items():
        for source in sources:
            readers[source].append(depth[name])
    return {n: min(readers[n]) - 1 if not reads[n] and readers[n] else depth[n] for n in reads}


def _connect(nodes: dict[str, Node], source: str, target: str) -> None:
    """Lead an arrow from layer to layer; arrows from one box share their bends."""
    above = source
    for layer in range(nodes[source].layer + 1, nodes[target].layer):
        bend = f"{source}@{layer}"
        if bend not in nodes:
            nodes[bend] = Node(bend, layer, 4.0, 4.0)
            _link(nodes, above, bend)
        above = bend
    _link(nodes, above, target)


def _link(nodes: dict[str, Node], above: str, below: str) -> None:
    nodes[above].out_of.append(below)
    nodes[below].into.append(above)


def _rows(nodes: Mapping[str, Node]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(1 + max(node.layer for node in nodes.values()))]
    for name, node in nodes.items():
        rows[node.layer].append(name)
    return rows


def _order(rows: list[list[str]], nodes: Mapping[str, Node], *, downwards: bool) -> None:
    """Sort each row by where its neighbours stand, which takes crossings away."""
    place = {name: index for row in rows for index, name in enumerate(row)}
    for row in rows if downwards else reversed(rows):
        wish = {}
        for name in row:
            near = nodes[name].into if downwards else nodes[name].out_of
            wish[name] = _mean(place[other] for other in near) if near else place[name]
        row.sort(key=lambda name: wish[name])
        place |= {name: index for index, name in enumerate(row)}


def _place(rows: Sequence[Sequence[str]], nodes: Mapping[str, Node]) -> None:
    for row in rows:
        _spread(row, nodes, dict.fromkeys(row, 0.0))
    for sweep in range(2 * _SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wish = {name: _wish(nodes[name], nodes, downwards=bool(sweep % 2)) for name in row}
            _spread(row, nodes, wish)
    leftmost = min(node.x - node.left for node in nodes.values())
    for node in nodes.values():
        node.x -= leftmost


def _wish(node: Node, nodes: Mapping[str, Node], *, downwards: bool) -> float:
    near = (node.into or node.out_of) if downwards else (node.out_of or node.into)
    return _mean(nodes[other].x for other in near) if near else node.x


def _spread(row: Sequence[str], nodes: Mapping[str, Node], wish: Mapping[str, float]) -> None:
    """Give each its wish as far as none overlaps: the mean of pushing to the right and to the left."""
    pushed_right: list[float] = []
    for index, name in enumerate(row):
        least = pushed_right[-1] + _distance(row[index - 1], name, nodes) if index else wish[name]
        pushed_right.append(max(wish[name], least))
    pushed_left: list[float] = []
    for index in reversed(range(len(row))):
        name = row[index]
        most = pushed_left[-1] - _distance(name, row[index + 1], nodes) if pushed_left else wish[name]
        pushed_left.append(min(wish[name], most))
    for name, right, left in zip(row, pushed_right, reversed(pushed_left), strict=True):
        nodes[name].x = (right + left) / 2


def _distance(left: str, right: str, nodes: Mapping[str, Node]) -> float:
    return nodes[left].right + GAP + nodes[right].left


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
