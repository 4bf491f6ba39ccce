"""Guesses at which tensor of a target is which of the reference, the likeliest first."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from attncheck.targets.names import layer_role
from attncheck.targets.placing import Placement

Shape = tuple[int, ...]
_LEAF = re.compile(r"^(.*?)[._]?(weight|bias|running_mean|running_var)$")
_HEADED_ROWS = ("query", "key", "value")
_MOST = 4000


@dataclass(frozen=True)
class Layer:
    """Tensors that belong together: a weight, its bias, perhaps running statistics."""

    path: str
    tensors: Mapping[str, tuple[str, Shape]]

    @property
    def main(self) -> tuple[str, Shape]:
        """Name and shape of the tensor that tells most: the weight, or the only one."""
        return self.tensors.get("weight") or next(iter(self.tensors.values()))


@dataclass(frozen=True)
class Guess:
    """A whole assignment: placements, what is absent, and how unlikely it looks."""

    placements: tuple[Placement, ...]
    absent: tuple[str, ...]
    identity: tuple[str, ...]
    cost: float
    named: bool


@dataclass(frozen=True)
class _Fit:
    """One target layer filled by some reference layers."""

    roles: tuple[str, ...]
    placements: tuple[Placement, ...]
    covered: tuple[str, ...]
    cost: float
    named: bool


def layers(shapes: Mapping[str, Shape]) -> list[Layer]:
    """Tensors grouped by their layer, in order of registration."""
    grouped: dict[str, dict[str, tuple[str, Shape]]] = {}
    for name, shape in shapes.items():
        match = _LEAF.match(name)
        path, leaf = (match.group(1), match.group(2)) if match and match.group(1) else (name, "weight")
        if match and not match.group(1):
            path = ""
        grouped.setdefault(path, {})[leaf] = (name, shape)
    return [Layer(path, tensors) for path, tensors in grouped.items()]


def guesses(own: Mapping[str, Shape], reference: Mapping[str, Shape], heads: int | None) -> list[Guess]:
    """Assignments of all the target's tensors, the likeliest first."""
    theirs = layers(reference)
    found = [
        g
        for g in (_in_order(own, reference), _layer_by_layer(own, reference) if len(theirs) > 8 else None)
        if g
    ]
    folded = _fold_heads(own, heads) if heads else dict(own)
    if len(theirs) <= 16:
        # As many layers as there are heads need not be one for each.
        for shapes in (folded, own) if folded != dict(own) else (own,):
            mine = sorted(layers(shapes), key=lambda layer: -_count(layer.main[1]))
            found += _search(mine, theirs, heads, reference)
        if heads and heads > 1:
            # Features before heads, in all layers alike: rarer, so after everything else.
            turned = [_interleaved(guess, reference, heads) for guess in found]
            found += [guess for guess in turned if guess is not None]
    return sorted(found, key=lambda g: g.cost)


def learned_shapes(built: nn.Module) -> dict[str, Shape]:
    """Names and shapes of what a module learns, and of the statistics that its norms keep.

    A tensor that stands in for several layers of a list, or of different roles, has all its names:
    that it is shared is then for the judge to say. An alias of another kind has but the first.
    """
    names: dict[int, list[str]] = {}
    shapes: dict[str, Shape] = {}
    for name, parameter in built.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), [])
        if parameter.requires_grad and (not first or _takes_another_place(name, first[0])):
            shapes[name] = tuple(parameter.shape)
            first.append(name)
    statistics = ("running_mean", "running_var")
    return shapes | {n: tuple(b.shape) for n, b in built.named_buffers() if n.endswith(statistics)}


def _takes_another_place(name: str, other: str) -> bool:
    if re.sub(r"\d+", "", name) == re.sub(r"\d+", "", other):
        return True
    told, known = (layer_role(n.rpartition(".")[0]) for n in (name, other))
    return told is not None and known is not None and told != known


def _count(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _fold_heads(own: Mapping[str, Shape], heads: int) -> dict[str, Shape]:
    """Names that differ in one number, one for each head, become one name with {} in it."""
    groups: dict[str, list[str]] = {}
    for name in own:
        for match in re.finditer(r"(?<=\.)\d+(?=\.)|(?<=\.)\d+$", name):
            groups.setdefault(name[: match.start()] + "{}" + name[match.end() :], []).append(name)
    folded = dict(own)
    for template, names in groups.items():
        complete = [template.format(i) for i in range(heads)]
        if (
            sorted(names) == sorted(complete)
            and len({own[n] for n in names}) == 1
            and all(n in folded for n in names)
        ):
            for name in names:
                del folded[name]
            folded[template] = (heads, *own[names[0]])
    return folded


def _in_order(own: Mapping[str, Shape], reference: Mapping[str, Shape]) -> Guess | None:
    """Both lists side by side, if every pair has one shape."""
    if len(own) != len(reference):
        return None
    placements = []
    for name, role in zip(own, reference, strict=True):
        if _squeezed(own[name]) != _squeezed(reference[role]):
            return None
        placements.append(Placement(name, (role,)))
    agreed = sum(
        layer_role(n) is not None and layer_role(n) == layer_role(r)
        for n, r in zip(own, reference, strict=True)
    )
    exact = list(own) == list(reference)
    named = [n for n in own if layer_role(n)]
    return Guess(
        tuple(placements),
        (),
        (),
        -1.0 if exact else 0.5 + len(named) - agreed,
        named=exact or agreed == len(named) > 0,
    )


def _layer_by_layer(own: Mapping[str, Shape], reference: Mapping[str, Shape]) -> Guess | None:
    """For networks of many layers: each takes the first of its shapes, one of its role before others."""
    mine = layers(own)
    placements: list[Placement] = []
    absent: list[str] = []
    for other in layers(reference):
        fitting = [layer for layer in mine if _alike(layer, other)]
        role = layer_role(other.path)
        chosen = next(
            (f for f in fitting if role and layer_role(f.path) == role), fitting[0] if fitting else None
        )
        if chosen is None:
            return None
        mine.remove(chosen)
        for leaf, (name, _) in other.tensors.items():
            if leaf in chosen.tensors:
                placements.append(Placement(chosen.tensors[leaf][0], (name,)))
            else:
                absent.append(name)
    if mine:
        return None
    return Guess(tuple(placements), tuple(absent), (), 0.8, named=True)


def _alike(layer: Layer, other: Layer) -> bool:
    """Whether a layer has the other's tensors, a bias perhaps excepted."""
    missing = set(other.tensors) - set(layer.tensors)
    if not set(layer.tensors) <= set(other.tensors) or not missing <= {"bias"}:
        return False
    return all(
        _squeezed(layer.tensors[leaf][1]) == _squeezed(other.tensors[leaf][1]) for leaf in layer.tensors
    )


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _search(
    mine: Sequence[Layer], theirs: Sequence[Layer], heads: int | None, reference: Mapping[str, Shape]
) -> list[Guess]:
    """Every way to fill all the target's layers, up to a number of them."""
    fits = [
        sorted(_fits(layer, theirs, heads, index / max(len(mine), 1)), key=lambda f: f.cost)
        for index, layer in enumerate(mine)
    ]
    complete: list[Guess] = []
    budget = [60_000]

    def descend(index: int, used: frozenset[str], chosen: tuple[_Fit, ...]) -> None:
        budget[0] -= 1
        if len(complete) >= _MOST or budget[0] < 0:
            return
        if index == len(mine):
            guess = _completed(chosen, reference)
            if guess:
                complete.append(guess)
            return
        for fit in fits[index]:
            if used.isdisjoint(fit.covered):
                descend(index + 1, used | set(fit.covered), (*chosen, fit))

    descend(0, frozenset(), ())
    return complete


def _completed(chosen: tuple[_Fit, ...], reference: Mapping[str, Shape]) -> Guess | None:
    covered = {name for fit in chosen for name in fit.covered}
    missing = [name for name in reference if name not in covered]
    absent = tuple(n for n in missing if n.endswith("bias") and len(reference[n]) == 1)
    square = [n for n in missing if len(reference[n]) == 2 and len(set(reference[n])) == 1]
    unprojected = [f"{layer}.weight" for layer in _HEADED_ROWS]
    # Queries, keys and values are all projected or none is.
    identity = tuple(
        n for n in square if n == "output.weight" or (set(unprojected) <= set(square) and n in unprojected)
    )
    if len(absent) + len(identity) != len(missing):
        return None
    placements = tuple(p for fit in chosen for p in fit.placements)
    named = all(fit.named for fit in chosen) and bool(chosen)
    return Guess(placements, absent, identity, sum(f.cost for f in chosen), named)


def _fits(layer: Layer, theirs: Sequence[Layer], heads: int | None, position: float) -> Iterator[_Fit]:
    role = layer_role(layer.path or layer.main[0])
    for index, other in enumerate(theirs):
        yield from _single(layer, other, role, heads, abs(position - index / max(len(theirs), 1)))
    by_path = {other.path: other for other in theirs}
    yield from _stacked(layer, theirs)
    yield from _side_by_side(layer, by_path)
    for count in (3, 2):
        for roles in itertools.permutations(("query", "key", "value"), count):
            if all(r in by_path for r in roles):
                yield from _packed(layer, [by_path[r] for r in roles], roles, heads)


def _single(
    layer: Layer, other: Layer, role: str | None, heads: int | None, distance: float
) -> Iterator[_Fit]:
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
                yield _Fit(
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
        yield _Fit((other.path,), placements, tuple(w for _, w, _, _ in combination), cost + extra, named)


def _interleaved(guess: Guess, reference: Mapping[str, Shape], heads: int) -> Guess | None:
    """The same assignment with features before heads, if every layer stands alone and as it is."""
    turned = []
    for placement in guess.placements:
        if len(placement.roles) != 1 or placement.pattern:
            return None
        (role,) = placement.roles
        layer, shape = role.rpartition(".")[0], reference[role]
        pattern = ""
        if layer in _HEADED_ROWS and shape[0] % heads == 0:
            pattern = "(h d) i -> (d h) i" if len(shape) == 2 else "(h d) -> (d h)"
        elif layer == "output" and len(shape) == 2 and shape[1] % heads == 0:
            pattern = "o (h d) -> o (d h)"
        turned.append(replace(placement, pattern=pattern))
    return replace(guess, placements=tuple(turned), cost=guess.cost + 3.0, named=False)


def _patterns(
    mine: Shape, wanted: tuple[str, Shape], path: str, heads: int | None, name: str
) -> Iterator[tuple[str, float]]:
    """Patterns that turn a reference tensor into one of the shape `mine`, each with a cost."""
    _, shape = wanted
    if "{}" in name:
        yield from _per_head(mine, shape, path, heads)
        return
    if _count(mine) != _count(shape):
        return
    if _squeezed(mine) == _squeezed(shape):
        yield "", 0.0
    if wanted[0] == "table" and len(shape) == 2:
        # Offsets may be counted from either end: how the table is laid out is no meaning.
        if mine == shape:
            yield "flip", 0.5
        elif mine == shape[::-1]:
            yield "flip o i -> i o", 0.5
    kernel = len(mine) > 2 and mine[-1] == 1
    if len(shape) == 2 and not kernel and _squeezed(mine) == _squeezed(shape[::-1]):
        # Kernels of convolutions have one order.
        yield "o i -> i o", (1.5 if shape[0] == shape[1] else 0.0)
    if len(shape) == 2 and len(mine) == 3 and heads:
        yield from _split_heads(mine, shape, path, heads)
    if (
        len(shape) == 1
        and len(mine) == 2
        and heads
        and path in _HEADED_ROWS
        and mine == (heads, shape[0] // heads)
    ):
        yield "", 0.0


def _split_heads(mine: Shape, shape: Shape, path: str, heads: int) -> Iterator[tuple[str, float]]:
    if path in _HEADED_ROWS and shape[0] % heads == 0:
        named = {"h": heads, "d": shape[0] // heads, "i": shape[1]}
        for target in ("h d i", "i h d", "h i d", "d h i", "i d h"):
            if tuple(named[a] for a in target.split()) == mine:
                yield f"(h d) i -> {target}", 0.2
    if path == "output" and shape[1] % heads == 0:
        named = {"h": heads, "d": shape[1] // heads, "o": shape[0]}
        for target in ("h d o", "o h d", "h o d", "d h o"):
            if tuple(named[a] for a in target.split()) == mine:
                yield f"o (h d) -> {target}", 0.2


def _per_head(mine: Shape, shape: Shape, path: str, heads: int | None) -> Iterator[tuple[str, float]]:
    """One tensor of the target for each head: the first axis of `mine` counts them."""
    if not heads or _count(mine) != _count(shape):
        return
    if path in _HEADED_ROWS and shape[0] % heads == 0:
        if len(shape) == 2 and _squeezed(mine[1:]) == _squeezed((shape[0] // heads, shape[1])):
            yield "(h d) i -> h d i", 0.0
        elif len(shape) == 2 and _squeezed(mine[1:]) == _squeezed((shape[1], shape[0] // heads)):
            yield "(h d) i -> h i d", 0.3
        elif len(shape) == 1 and _squeezed(mine[1:]) == _squeezed((shape[0] // heads,)):
            yield "(h d) -> h d", 0.0
    if (
        path == "output"
        and len(shape) == 2
        and shape[1] % heads == 0
        and mine[1:] == (shape[0], shape[1] // heads)
    ):
        yield "o (h d) -> h o d", 0.3


def _packed(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], heads: int | None
) -> Iterator[_Fit]:
    """A layer that holds several of the reference's, in some order of roles, heads and features."""
    if not set(layer.tensors) <= {"weight", "bias"}:
        return
    usual = [r for r in ("query", "key", "value") if r in roles]
    cost = 0.0 if list(roles) == usual else 1.0
    if not heads:
        yield from _joined(layer, others, roles, cost)
        return
    if len(layer.main[1]) == 1:
        yield from _packed_biases(layer, others, roles, cost)
        return
    weights = [other.tensors["weight"][1] for other in others]
    mine = layer.main[1]
    if len({w[1] for w in weights}) != 1 or _count(mine) != sum(map(_count, weights)):
        return
    if "{}" in layer.main[0]:
        yield from _packed_per_head(layer, others, roles, cost, heads)
        return
    if len({w[0] for w in weights}) != 1:
        yield from _concatenated(layer, others, roles, cost, mine, weights)
        return
    rows, columns = sum(w[0] for w in weights), weights[0][1]
    for order, extra in (
        ("r h d", 0.0),
        ("h r d", 0.4),
        ("h d r", 0.8),
        ("d r h", 1.2),
        ("r d h", 1.2),
        ("d h r", 1.2),
    ):
        for pattern, more in _packed_patterns(
            order, mine, rows, columns, len(roles), heads, weights[0][0] // heads
        ):
            yield _packed_fit(layer, others, roles, pattern, order, cost + extra + more)


def _joined(layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float) -> Iterator[_Fit]:
    """Kernels without heads in one: role after role, or the roles of each feature side by side."""
    weights = [other.tensors["weight"][1] for other in others]
    rows, rest = [w[0] for w in weights], weights[0][1:]
    if any(w[1:] != rest for w in weights) or _squeezed(layer.main[1]) != _squeezed((sum(rows), *rest)):
        return
    axes = " ".join("ijkl"[: len(rest)])
    patterns = [("cat", "cat")]
    if len(set(rows)) == 1:
        patterns.append((f"r o {axes} -> (o r) {axes}", "r o -> (o r)"))
    leaves = [leaf for leaf in ("weight", "bias") if leaf in layer.tensors]
    if not all(leaf in other.tensors for leaf in leaves for other in others):
        return
    for extra, pattern in enumerate(patterns):
        placements = tuple(
            Placement(layer.tensors[leaf][0], tuple(o.tensors[leaf][0] for o in others), text)
            for leaf, text in zip(leaves, pattern, strict=False)
        )
        yield _Fit(roles, placements, tuple(r for p in placements for r in p.roles), cost + extra, True)


def _stacked(layer: Layer, theirs: Sequence[Layer]) -> Iterator[_Fit]:
    """One layer for all of a numbered family, such as a gate's outputs for every branch."""
    families: dict[str, list[Layer]] = {}
    for other in theirs:
        stem, _, number = other.path.rpartition(".")
        if number.isdigit():
            families.setdefault(stem, []).append(other)
    for stem, members in families.items():
        shape = members[0].tensors.get("weight", ("", ()))[1]
        if (
            len(members) < 2
            or len(shape) != 2
            or _squeezed(layer.main[1]) != (len(members) * shape[0], *_squeezed(shape[1:]))
        ):
            continue
        placements = [Placement(layer.main[0], tuple(m.tensors["weight"][0] for m in members), "cat")]
        if "bias" in layer.tensors:
            if not all("bias" in m.tensors for m in members):
                continue
            placements.append(
                Placement(layer.tensors["bias"][0], tuple(m.tensors["bias"][0] for m in members), "cat")
            )
        covered = tuple(role for placement in placements for role in placement.roles)
        yield _Fit((stem,), tuple(placements), covered, 0.2, True)


def _side_by_side(layer: Layer, by_path: Mapping[str, Layer]) -> Iterator[_Fit]:
    """One linear layer over query and key next to each other: its columns are theirs."""
    pair = [by_path.get("query"), by_path.get("key")]
    if pair[0] is None or pair[1] is None or len(layer.main[1]) != 2:
        return
    for cost, (first, second) in ((0.0, pair), (0.5, pair[::-1])):
        assert first is not None, "both layers exist"
        assert second is not None, "both layers exist"
        one, two = first.tensors["weight"], second.tensors["weight"]
        if len(one[1]) != 2 or layer.main[1] != (one[1][0], one[1][1] + two[1][1]):
            continue
        placements = [Placement(layer.main[0], (one[0], two[0]), "columns")]
        if "bias" in layer.tensors:
            if "bias" not in pair[0].tensors:
                continue
            placements.append(Placement(layer.tensors["bias"][0], (pair[0].tensors["bias"][0],)))
        covered = tuple(role for placement in placements for role in placement.roles)
        yield _Fit(("query", "key"), tuple(placements), covered, cost, True)


def _packed_biases(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float
) -> Iterator[_Fit]:
    """Biases in one vector, whose weights stand apart."""
    if len(layer.tensors) != 1 or not all("bias" in other.tensors for other in others):
        return
    biases = tuple(other.tensors["bias"][0] for other in others)
    if _count(layer.main[1]) == sum(_count(other.tensors["bias"][1]) for other in others):
        yield _Fit(roles, (Placement(layer.main[0], biases, "cat"),), biases, cost, True)


def _packed_patterns(
    order: str, mine: Shape, rows: int, columns: int, count: int, heads: int, head_dim: int
) -> Iterator[tuple[str, float]]:
    if _squeezed(mine) == _squeezed((rows, columns)):
        yield f"r (h d) i -> ({order}) i", 0.0
    if _squeezed(mine) == _squeezed((columns, rows)):
        yield f"r (h d) i -> i ({order})", (0.5 if rows == columns else 0.0)
    sizes = {"r": count, "h": heads, "d": head_dim, "i": columns}
    if len(mine) == 4:
        for target in (f"{order} i", f"i {order}"):
            if tuple(sizes[a] for a in target.split()) == mine:
                yield f"r (h d) i -> {target}", 0.0
    if (
        len(mine) == 3
        and mine in ((count, rows // count, columns), (count, columns, rows // count))
        and order == "r h d"
    ):
        yield ("r (h d) i -> r (h d) i" if mine[2] == columns else "r (h d) i -> r i (h d)"), 0.0


def _packed_fit(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], pattern: str, order: str, cost: float
) -> _Fit:
    placements = [Placement(layer.main[0], tuple(o.tensors["weight"][0] for o in others), pattern)]
    if "bias" in layer.tensors and "weight" in layer.tensors:
        biases = tuple(o.tensors["bias"][0] for o in others if "bias" in o.tensors)
        placements.append(Placement(layer.tensors["bias"][0], biases, f"r (h d) -> ({order})"))
    covered = tuple(role for placement in placements for role in placement.roles)
    named = re.search(
        r"qkv|in_proj|c_attn|kv|packed|query_key_value|fused|to_qkv|proj_in|attn", layer.path.lower()
    )
    return _Fit(roles, tuple(placements), covered, cost, bool(named))


def _concatenated(
    layer: Layer,
    others: Sequence[Layer],
    roles: tuple[str, ...],
    cost: float,
    mine: Shape,
    weights: Sequence[Shape],
) -> Iterator[_Fit]:
    if _squeezed(mine) != _squeezed((sum(w[0] for w in weights), weights[0][1])):
        return
    placements = [Placement(layer.main[0], tuple(o.tensors["weight"][0] for o in others), "cat")]
    if "bias" in layer.tensors:
        placements.append(
            Placement(layer.tensors["bias"][0], tuple(o.tensors["bias"][0] for o in others), "cat")
        )
    covered = tuple(role for placement in placements for role in placement.roles)
    yield _Fit(roles, tuple(placements), covered, cost + 0.2, True)


def _packed_per_head(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float, heads: int
) -> Iterator[_Fit]:
    """One packed tensor for each head."""
    rows, columns = others[0].tensors["weight"][1]
    if layer.main[1] != (heads, len(roles) * rows // heads, columns):
        return
    placements = [
        Placement(layer.main[0], tuple(o.tensors["weight"][0] for o in others), "r (h d) i -> h (r d) i")
    ]
    if "bias" in layer.tensors:
        biases = tuple(o.tensors["bias"][0] for o in others)
        placements.append(Placement(layer.tensors["bias"][0], biases, "r (h d) -> h (r d)"))
    covered = tuple(role for placement in placements for role in placement.roles)
    yield _Fit(roles, tuple(placements), covered, cost + 0.2, True)
