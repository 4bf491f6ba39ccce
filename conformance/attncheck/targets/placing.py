"""Where the reference's weights go in a target: packed, transposed, split by heads, or as they are."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from attncheck.model.case import Scalar
from attncheck.targets.rephrasing import gradient_of, is_rephrased, rephrased

# The number of one of several alike, such as branches.
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True)
class Placement:
    """One tensor of the target, made of one or more of the reference.

    `pattern` is an einops pattern over the reference's tensor, or over several of them stacked along a first
    axis `r`; empty for a plain copy, "cat" for tensors one after the other, "columns" for matrices side by
    side, either with "turned" behind it for the whole transposed, "flip", "roll" or "last" before a pattern
    for a first axis that runs backwards, begins at its middle or has its first row last, or one of
    `rephrasing` for a number that is learned in another form. In it, `h` is the number of heads. `target` may
    hold "{}" for one tensor per head, or several names with "|" between them: then each takes as many of the
    rows as it has, by the pattern.
    """

    target: str
    roles: tuple[str, ...]
    pattern: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The target's tensors; of one per head, the name that stands for all."""
        return tuple(self.target.split("|"))

    def within(self, own: Container[str]) -> bool:
        """Whether an instance with these tensors has the placement's."""
        return all(name.format(0) in own for name in self.names)

    def place(
        self, own: Mapping[str, Tensor], parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> None:
        """Copy the reference's tensors into the target's. Raises ValueError if sizes differ."""
        for name, part in self._parts([parameters[role] for role in self.roles], own, names):
            mine = own[name]
            if mine.numel() == 0 and part.numel():
                raise ValueError(f"{name} has no numbers at these sizes: its shape is {tuple(mine.shape)}")
            if mine.numel() != part.numel():
                raise ValueError(f"{name} has shape {tuple(mine.shape)}, expected {tuple(part.shape)}")
            mine.copy_(part.reshape(mine.shape))

    def gradients(
        self, own: Mapping[str, Tensor], parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> dict[str, Tensor | None]:
        """The gradients of the target's tensors as gradients of the reference's."""
        if is_rephrased(self.pattern):
            (role,), gradient = self.roles, own[self.target].grad
            return {role: None if gradient is None else gradient_of(self.pattern, parameters[role], gradient)}
        # Sending each element's number through the pattern tells where it went.
        counts = [parameters[role].numel() for role in self.roles]
        numbers = torch.split(torch.arange(sum(counts), dtype=torch.float64), counts)
        shaped = [n.reshape(parameters[r].shape) for n, r in zip(numbers, self.roles, strict=True)]
        given: list[Tensor] = []
        places: list[Tensor] = []
        for name, part in self._parts(shaped, own, names):
            gradient = own[name].grad
            if gradient is None:
                return dict.fromkeys(self.roles)
            given.append(gradient.flatten())
            places.append(part.flatten().long())
        together = torch.cat(given)
        home = torch.empty_like(together)
        home[torch.cat(places).to(home.device)] = together
        parts = torch.split(home, counts)
        return {r: p.reshape(parameters[r].shape) for r, p in zip(self.roles, parts, strict=True)}

    def _parts(
        self, tensors: list[Tensor], own: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> list[tuple[str, Tensor]]:
        """What goes into each of the target's tensors."""
        if len(self.names) > 1:
            (whole,) = tensors
            while whole.shape[0] == 1:
                whole = whole[0]
            counts = [own[name].numel() // whole[0].numel() for name in self.names]
            if sum(counts) != len(whole):
                raise ValueError(f"{', '.join(self.names)} have {sum(counts)} rows, expected {len(whole)}")
            split = zip(self.names, torch.split(whole, counts), strict=True)
            return [(name, self._arranged([rows], names)) for name, rows in split]
        arranged = self._arranged(tensors, names)
        if "{}" not in self.target:
            return [(self.target, arranged)]
        return [(self.target.format(i), part) for i, part in enumerate(arranged.unbind(0))]

    def _arranged(self, tensors: list[Tensor], names: Mapping[str, Scalar]) -> Tensor:
        if self.pattern.startswith("cat"):
            joined = torch.cat(tensors)
            return joined.T if self.pattern.endswith("turned") else joined
        if self.pattern.startswith("columns"):
            joined = torch.cat(tensors, dim=1)
            return joined.T if self.pattern.endswith("turned") else joined
        stacks = len(tensors) > 1 or self.pattern.startswith("r ")
        tensor = torch.stack(tensors) if stacks else tensors[0]
        if is_rephrased(self.pattern):
            return rephrased(self.pattern, tensor)
        moves, pattern = moved(self.pattern)
        if "flip" in moves:
            tensor = tensor.flip(0)
        if "roll" in moves:
            tensor = torch.fft.ifftshift(tensor, 0)
        if "last" in moves:
            tensor = tensor.roll(-1, 0)
        if not pattern:
            return tensor
        needs_heads = "h" in pattern.replace("(", " ").replace(")", " ").split()
        return rearrange(tensor, pattern, **({"h": int(str(names["heads"]))} if needs_heads else {}))


def moved(pattern: str) -> tuple[tuple[str, ...], str]:
    """What happens to the first axis before the pattern itself, and that pattern."""
    first, _, rest = pattern.partition(" ")
    if first not in ("flip", "roll", "last"):
        return (), pattern
    others, rest = moved(rest)
    return (first, *others), rest


class UnplacedError(LookupError):
    """A target has weights that it had not when it was studied, and the reference has, too."""


def form_within(
    own: Container[str],
    forms: Sequence[tuple[Placement, ...]],
    parameters: Mapping[str, object],
    excused: set[str],
) -> list[Placement]:
    """The placements whose tensors an instance has: some targets name them by their sizes or options.

    Without a bias, say, the reference lacks a tensor, and nothing is placed for it.
    """
    everywhere: dict[tuple[str, ...], Placement] = {}
    for settled in forms:
        alike = [restacked(placement, parameters) for placement in settled]
        placements = [*alike, *continued(settled, parameters)]
        needed = [p for p in placements if all(role in parameters for role in p.roles)]
        covered = {role for p in needed for role in p.roles} | excused
        if all(p.within(own) for p in needed) and covered >= set(parameters):
            return needed
        for placement in needed:
            if placement.within(own):
                everywhere.setdefault(placement.roles, placement)
    # Two options that each rename a layer: every layer by the name that it has here.
    if {r for roles in everywhere for r in roles} >= {r for p in needed for r in p.roles}:
        return list(everywhere.values())
    return [p for p in forms[0] if all(role in parameters for role in p.roles)]


def require_places(placements: Sequence[Placement], own: set[str], wanted: set[str]) -> None:
    """Raise UnplacedError if the target has weights left over and the reference has, too: which is which was not seen."""
    wanted = wanted - {role for placement in placements for role in placement.roles}
    if not wanted:
        return
    names = [name for placement in placements for name in placement.names]
    heads = [name.partition("{}")[0] for name in names if "{}" in name]
    left = sorted(n for n in own.difference(names) if not n.startswith(tuple(heads)))
    if left:
        raise UnplacedError(
            f"it is not known which of {', '.join(sorted(wanted))} belongs in {', '.join(left)}, "
            "which the target does not have at other sizes; write an adapter"
        )


def continued(placements: tuple[Placement, ...], parameters: Mapping[str, object]) -> list[Placement]:
    """Placements for numbered tensors beyond those that there were when the target was studied."""
    known = {p.roles[0]: p for p in placements if len(p.roles) == 1}
    made = []
    for role in parameters:
        number = _NUMBER.search(role)
        if role in known or number is None or int(number.group()) < 2:
            continue
        first, second = (known.get(role[: number.start()] + n + role[number.end() :]) for n in ("0", "1"))
        target = _next_name(first.target, second.target, int(number.group())) if first and second else None
        if first is not None and target is not None:
            made.append(replace(first, target=target, roles=(role,)))
    return made


def restacked(placement: Placement, parameters: Mapping[str, object]) -> Placement:
    """A tensor that holds one thing for every branch, for as many branches as there are."""
    stems = {tuple(_NUMBER.split(role)) for role in placement.roles}
    if len(placement.roles) < 2 or len(stems) != 1 or len(stem := stems.pop()) != 2:
        return placement
    family = [role for role in parameters if tuple(_NUMBER.split(role)) == stem]
    return replace(placement, roles=tuple(family)) if family else placement


def _next_name(first: str, second: str, index: int) -> str | None:
    """The name that follows two which differ in one number."""
    one, two = re.split(r"(\d+)", first), re.split(r"(\d+)", second)
    differing = [i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
    if len(one) != len(two) or len(differing) != 1 or not one[differing[0]].isdigit():
        return None
    step = int(two[differing[0]]) - int(one[differing[0]])
    one[differing[0]] = str(int(one[differing[0]]) + step * index)
    return "".join(one)
