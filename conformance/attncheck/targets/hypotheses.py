"""Guesses at which tensor of a target is which of the reference, the likeliest first."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from attncheck.targets.fitting import HEADED_ROWS, Fit, single
from attncheck.targets.layers import Layer, Shape, elements, layers, squeezed
from attncheck.targets.names import layer_role
from attncheck.targets.packing import packed, side_by_side, stacked
from attncheck.targets.placing import Placement

_MOST = 4000


# Roles whose layers a network may have in one.
_TOGETHER = ((), ("key", "value"), ("query", "key", "value"))


@dataclass(frozen=True)
class Guess:
    """A whole assignment: placements, what is absent, and how unlikely it looks.

    `untold` are tensors whose names tell nothing, beside others whose names tell their roles.
    """

    placements: tuple[Placement, ...]
    absent: tuple[str, ...]
    identity: tuple[str, ...]
    cost: float
    named: bool
    untold: tuple[str, ...] = ()


def guesses(own: Mapping[str, Shape], reference: Mapping[str, Shape], heads: int | None) -> list[Guess]:
    """Assignments of all the target's tensors, the likeliest first."""
    theirs = layers(reference)
    networks = [_layer_by_layer(own, reference, roles) for roles in _TOGETHER] if len(theirs) > 8 else []
    found = [guess for guess in (_in_order(own, reference), *networks) if guess]
    folded = _fold_heads(own, heads) if heads else dict(own)
    if len(theirs) <= 16:
        # As many layers as there are heads need not be one for each.
        for shapes in (folded, own) if folded != dict(own) else (own,):
            found += _search(_by_size(layers(shapes)), theirs, heads, reference)
        if heads and heads > 1:
            # Features before heads, in all layers alike: rarer, so after everything else.
            turned = [_interleaved(guess, reference, heads) for guess in found]
            found += [guess for guess in turned if guess is not None]
    if not found and len(theirs) <= 16:
        for shapes in _fold_rows(own, reference):
            found += _search(_by_size(layers(shapes)), theirs, heads, reference)
    return sorted(found, key=lambda g: g.cost)


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


def _fold_rows(own: Mapping[str, Shape], reference: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """Two tensors become one: kernels of a map each, or the first row of a table and the rest."""
    for shape in reference.values():
        rows, *rest = squeezed(shape) or (1,)
        row = elements(tuple(rest))
        for names in itertools.permutations(own, 2) if rest and row > 1 else ():
            counts = [elements(own[name]) for name in names]
            if sum(counts) == rows * row and counts[0] == row:
                yield {"|".join(names): shape} | {n: s for n, s in own.items() if n not in names}


def _in_order(own: Mapping[str, Shape], reference: Mapping[str, Shape]) -> Guess | None:
    """Both lists side by side, if every pair has one shape."""
    if len(own) != len(reference):
        return None
    placements = []
    for name, role in zip(own, reference, strict=True):
        if squeezed(own[name]) != squeezed(reference[role]):
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


def _layer_by_layer(
    own: Mapping[str, Shape], reference: Mapping[str, Shape], together: tuple[str, ...] = ()
) -> Guess | None:
    """For networks of many layers: each takes the first of its shapes, one of its role before others.

    Layers of the roles that go `together` are one layer of the target, one after the other.
    """
    mine, theirs = layers(own), layers(reference)
    joined = [layer for layer in theirs if layer.path.rpartition(".")[2] in together]
    placements = _end_to_end(mine, joined)
    if placements is None:
        return None
    absent: list[str] = []
    for other in (layer for layer in theirs if layer not in joined):
        fitting = [layer for layer in mine if _alike(layer, other)]
        role = layer_role(other.path)
        chosen = next(
            (f for f in fitting if role and layer_role(f.path) == role), fitting[0] if fitting else None
        )
        turned = next((layer for layer in mine if chosen is None and _turned(layer, other)), None)
        if turned is not None:
            mine.remove(turned)
            placements.append(Placement(turned.main[0], (other.main[0],), "o i -> i o"))
            continue
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


def _end_to_end(mine: list[Layer], joined: list[Layer]) -> list[Placement] | None:
    """Where several layers of one width stand in one of the target's, which is taken from `mine`."""
    if not joined:
        return []
    rows = len(joined) * joined[0].main[1][0]
    for layer in mine:
        if layer.main[1] == (rows, *joined[0].main[1][1:]) and set(layer.tensors) == set(joined[0].tensors):
            mine.remove(layer)
            return [
                Placement(mine_name, tuple(each.tensors[leaf][0] for each in joined), "cat")
                for leaf, (mine_name, _) in layer.tensors.items()
            ]
    return None


def _turned(layer: Layer, other: Layer) -> bool:
    """Whether a layer is the other's only matrix with rows for columns."""
    return len(layer.tensors) == len(other.tensors) == 1 and (
        len(other.main[1]) == 2 and squeezed(layer.main[1]) == other.main[1][::-1]
    )


def _alike(layer: Layer, other: Layer) -> bool:
    """Whether a layer has the other's tensors, a bias perhaps excepted."""
    missing = set(other.tensors) - set(layer.tensors)
    if not set(layer.tensors) <= set(other.tensors) or not missing <= {"bias"}:
        return False
    return all(squeezed(layer.tensors[leaf][1]) == squeezed(other.tensors[leaf][1]) for leaf in layer.tensors)


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

    def descend(index: int, used: frozenset[str], chosen: tuple[Fit, ...]) -> None:
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


def _completed(chosen: tuple[Fit, ...], reference: Mapping[str, Shape]) -> Guess | None:
    covered = {name for fit in chosen for name in fit.covered}
    missing = [name for name in reference if name not in covered]
    # What has no factor of its own counts once.
    absent = tuple(n for n in missing if n == "gamma" or (n.endswith("bias") and len(reference[n]) == 1))
    square = [n for n in missing if len(reference[n]) == 2 and len(set(reference[n])) == 1]
    unprojected = [f"{layer}.weight" for layer in HEADED_ROWS]
    # Queries, keys and values are all projected or none is.
    identity = tuple(
        n for n in square if n == "output.weight" or (set(unprojected) <= set(square) and n in unprojected)
    )
    if len(absent) + len(identity) != len(missing):
        return None
    placements = tuple(p for fit in chosen for p in fit.placements)
    silent = [fit for fit in chosen if not fit.named]
    untold = tuple(p.target for fit in silent for p in fit.placements) if len(silent) < len(chosen) else ()
    if any(layer_role(target) is not None for target in untold):
        # A name that tells another role denies what shapes alone would say.
        untold = ()
    cost = sum(f.cost for f in chosen)
    return Guess(placements, absent, identity, cost, named=not silent and bool(chosen), untold=untold)


def _fits(layer: Layer, theirs: Sequence[Layer], heads: int | None, position: float) -> Iterator[Fit]:
    role = layer_role(layer.path or layer.main[0])
    for index, other in enumerate(_by_size(theirs)):
        # Squared, so that of equal layers those in their order are the likeliest.
        yield from single(layer, other, role, heads, (position - index / len(theirs)) ** 2)
    by_path = {other.path: other for other in theirs}
    yield from stacked(layer, theirs)
    yield from side_by_side(layer, by_path)
    for count in (3, 2):
        for roles in itertools.permutations(("query", "key", "value"), count):
            if all(r in by_path for r in roles):
                yield from packed(layer, [by_path[r] for r in roles], roles, heads)


def _by_size(those: Sequence[Layer]) -> list[Layer]:
    """The largest first, equal ones in their order: what is hard to place is placed before the rest."""
    return sorted(those, key=lambda layer: -elements(layer.main[1]))


def _interleaved(guess: Guess, reference: Mapping[str, Shape], heads: int) -> Guess | None:
    """The same assignment with features before heads, if every layer stands alone and as it is."""
    turned = []
    for placement in guess.placements:
        if len(placement.roles) != 1 or placement.pattern:
            return None
        (role,) = placement.roles
        layer, shape = role.rpartition(".")[0], reference[role]
        pattern = ""
        if layer in HEADED_ROWS and shape[0] % heads == 0:
            pattern = "(h d) i -> (d h) i" if len(shape) == 2 else "(h d) -> (d h)"
        elif layer == "output" and len(shape) == 2 and shape[1] % heads == 0:
            pattern = "o (h d) -> o (d h)"
        turned.append(replace(placement, pattern=pattern))
    return replace(guess, placements=tuple(turned), cost=guess.cost + 3.0, named=False)
