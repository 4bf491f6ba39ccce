"""One layer of a target for several of the reference: packed, stacked, or side by side."""

import re
from collections.abc import Iterator, Mapping, Sequence

from attncheck.targets.fitting import Fit
from attncheck.targets.layers import Layer, Shape, elements, squeezed
from attncheck.targets.placing import Placement


def packed(layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], heads: int | None) -> Iterator[Fit]:
    """A layer that holds several of the reference's, in some order of roles, heads and features."""
    if not set(layer.tensors) <= {"weight", "bias"}:
        return
    usual = [r for r in ("query", "key", "value") if r in roles]
    cost = 0.0 if list(roles) == usual else 1.0
    # Biases by heads have axes, the first of which counts the roles.
    if len(layer.main[1]) == 1 or _are_biases(layer.main[1], others):
        yield from _packed_biases(layer, others, roles, cost)
        return
    if not heads:
        yield from _joined(layer, others, roles, cost)
        return
    weights = [other.tensors["weight"][1] for other in others]
    mine = layer.main[1]
    if len({w[1] for w in weights}) != 1 or elements(mine) != sum(map(elements, weights)):
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


def _joined(layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float) -> Iterator[Fit]:
    """Kernels without heads in one: role after role, or the roles of each feature side by side."""
    weights = [other.tensors["weight"][1] for other in others]
    rows, rest = [w[0] for w in weights], weights[0][1:]
    mine, whole = squeezed(layer.main[1]), (sum(rows), *rest)
    if any(w[1:] != rest for w in weights):
        return
    if mine == whole[::-1] != whole and len(whole) == 2 and set(layer.tensors) == {"weight"}:
        names = tuple(other.tensors["weight"][0] for other in others)
        yield Fit(roles, (Placement(layer.main[0], names, "cat turned"),), names, cost, True)
    if mine != squeezed(whole):
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
        yield Fit(roles, placements, tuple(r for p in placements for r in p.roles), cost + extra, True)


def stacked(layer: Layer, theirs: Sequence[Layer]) -> Iterator[Fit]:
    """One layer for all of a numbered family, such as a gate's outputs for every branch."""
    families: dict[str, list[Layer]] = {}
    for other in theirs:
        stem, _, number = other.path.rpartition(".")
        if number.isdigit():
            families.setdefault(stem, []).append(other)
    for stem, members in families.items():
        if len(members) < 2:
            continue
        # A weight of its own may be of their biases, where these stand apart.
        for leaf in ("weight", "bias"):
            others = [(n, t) for n, t in layer.tensors.items() if n not in ("weight", leaf)]
            whole = [(leaf, layer.main), *others]
            placements = [_end_to_end(mine, members, part) for part, mine in whole]
            if all(placements):
                covered = tuple(role for placement in placements if placement for role in placement.roles)
                yield Fit((stem,), tuple(p for p in placements if p), covered, 0.2, True)


def _end_to_end(mine: tuple[str, Shape], members: Sequence[Layer], leaf: str) -> Placement | None:
    """One tensor for a leaf of every member of a family, one after the other or along an axis of their own."""
    theirs = [member.tensors[leaf] for member in members if leaf in member.tensors]
    if len(theirs) < len(members) or len(theirs[0][1]) > 2:
        return None
    rows, *rest = theirs[0][1]
    name, shape = mine
    roles = tuple(role for role, _ in theirs)
    if len(rest) == 1 and shape == (len(theirs), *rest, rows) != (len(theirs), rows, *rest):
        return Placement(name, roles, "r o i -> r i o")
    joined = ((len(theirs) * rows, *squeezed(tuple(rest))), (len(theirs), rows, *squeezed(tuple(rest))))
    return Placement(name, roles, "cat") if squeezed(shape) in joined else None


def side_by_side(layer: Layer, by_path: Mapping[str, Layer]) -> Iterator[Fit]:
    """One linear layer over query and key next to each other: its columns are theirs."""
    pair = [by_path.get("query"), by_path.get("key")]
    if pair[0] is None or pair[1] is None or len(layer.main[1]) != 2:
        return
    for cost, (first, second) in ((0.0, pair), (0.5, pair[::-1])):
        assert first is not None, "both layers exist"
        assert second is not None, "both layers exist"
        one, two = first.tensors["weight"], second.tensors["weight"]
        joined = (one[1][0], one[1][1] + two[1][1])
        if len(one[1]) != 2 or layer.main[1] not in (joined, joined[::-1]):
            continue
        pattern = "columns" if layer.main[1] == joined else "columns turned"
        placements = [Placement(layer.main[0], (one[0], two[0]), pattern)]
        if "bias" in layer.tensors:
            if "bias" not in pair[0].tensors:
                continue
            placements.append(Placement(layer.tensors["bias"][0], (pair[0].tensors["bias"][0],)))
        covered = tuple(role for placement in placements for role in placement.roles)
        yield Fit(("query", "key"), tuple(placements), covered, cost, True)


def _are_biases(shape: Shape, others: Sequence[Layer]) -> bool:
    biases = [elements(other.tensors["bias"][1]) for other in others if "bias" in other.tensors]
    return shape[:1] == (len(others),) == (len(biases),) and elements(shape) == sum(biases)


def _packed_biases(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float
) -> Iterator[Fit]:
    """Biases in one vector, whose weights stand apart."""
    if len(layer.tensors) != 1 or not all("bias" in other.tensors for other in others):
        return
    biases = tuple(other.tensors["bias"][0] for other in others)
    if elements(layer.main[1]) == sum(elements(other.tensors["bias"][1]) for other in others):
        yield Fit(roles, (Placement(layer.main[0], biases, "cat"),), biases, cost, True)


def _packed_patterns(
    order: str, mine: Shape, rows: int, columns: int, count: int, heads: int, head_dim: int
) -> Iterator[tuple[str, float]]:
    if squeezed(mine) == squeezed((rows, columns)):
        yield f"r (h d) i -> ({order}) i", 0.0
    if squeezed(mine) == squeezed((columns, rows)):
        yield f"r (h d) i -> i ({order})", (0.5 if rows == columns else 0.0)
    sizes = {"r": count, "h": heads, "d": head_dim, "i": columns}
    if len(mine) == 4:
        # Inputs behind, before, or next to the features of a head.
        for target in dict.fromkeys((f"{order} i", f"i {order}", order.replace("d", "i d"))):
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
) -> Fit:
    placements = [Placement(layer.main[0], tuple(o.tensors["weight"][0] for o in others), pattern)]
    if "bias" in layer.tensors and "weight" in layer.tensors:
        biases = tuple(o.tensors["bias"][0] for o in others if "bias" in o.tensors)
        placements.append(Placement(layer.tensors["bias"][0], biases, f"r (h d) -> ({order})"))
    covered = tuple(role for placement in placements for role in placement.roles)
    named = re.search(
        r"qkv|in_proj|c_attn|kv|packed|query_key_value|fused|to_qkv|proj_in|attn", layer.path.lower()
    )
    return Fit(roles, tuple(placements), covered, cost, bool(named))


def _concatenated(
    layer: Layer,
    others: Sequence[Layer],
    roles: tuple[str, ...],
    cost: float,
    mine: Shape,
    weights: Sequence[Shape],
) -> Iterator[Fit]:
    if squeezed(mine) != squeezed((sum(w[0] for w in weights), weights[0][1])):
        return
    placements = [Placement(layer.main[0], tuple(o.tensors["weight"][0] for o in others), "cat")]
    if "bias" in layer.tensors:
        placements.append(
            Placement(layer.tensors["bias"][0], tuple(o.tensors["bias"][0] for o in others), "cat")
        )
    covered = tuple(role for placement in placements for role in placement.roles)
    yield Fit(roles, tuple(placements), covered, cost + 0.2, True)


def _packed_per_head(
    layer: Layer, others: Sequence[Layer], roles: tuple[str, ...], cost: float, heads: int
) -> Iterator[Fit]:
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
    yield Fit(roles, tuple(placements), covered, cost + 0.2, True)
