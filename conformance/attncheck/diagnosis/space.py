"""The sizes and options that cases are drawn from, and the ways to draw them."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import MappingProxyType

Case = Mapping[str, object]

# A law such as model_dim % heads == 0 lets through one draw in a handful; one in a thousand is a mistake.
_TRIES = 1_000


def _anything(_case: Case) -> bool:
    return True


@dataclass(frozen=True)
class Space:
    """Per axis an inclusive range, per option its values, and a law on the whole."""

    axes: Mapping[str, tuple[int, int]]
    options: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: MappingProxyType({}))
    legal: Callable[[Case], bool] = _anything

    def __post_init__(self) -> None:
        for axis, (least, most) in self.axes.items():
            if not 0 <= least <= most:
                raise ValueError(f"expected {axis} to range over 0 <= least <= most, got {least} to {most}")
        for option, values in self.options.items():
            if not values:
                raise ValueError(f"expected values of the option {option}, got none")

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.axes, *self.options)

    def doubled(self) -> "Space":
        """Reach twice as far along every axis that varies, to unmask what only the range made true."""
        further = {
            axis: (least, most if least == most else 2 * most) for axis, (least, most) in self.axes.items()
        }
        return replace(self, axes=further)

    def reaching(self, sizes: Mapping[str, int]) -> "Space":
        """Up to these sizes at least: nothing is learned of what is beyond the range."""
        further = {axis: (least, max(most, sizes[axis])) for axis, (least, most) in self.axes.items()}
        return replace(self, axes=further)

    def holding(self, options: Mapping[str, object]) -> "Space":
        """The space at these values of options."""
        return replace(self, options={**self.options, **{o: (value,) for o, value in options.items()}})

    def draw(self, rng: Random) -> Case | None:
        """Draw a legal case, small sizes and coincidences oftener than by chance; None if none is found."""
        for _ in range(_TRIES):
            case: dict[str, object] = {axis: self._size(axis, rng) for axis in self.axes}
            case |= {option: rng.choice(values) for option, values in self.options.items()}
            self._coincide(case, rng)
            if self.legal(case):
                return case
        return None

    def neighbour(self, case: Case, rng: Random) -> Case | None:
        """Draw one or two names of a case anew: the two cases straddle a boundary if their labels differ."""
        for _ in range(_TRIES // 10):
            moved = dict(case)
            for name in rng.sample(self.names, min(len(self.names), rng.choice((1, 1, 2)))):
                moved[name] = self._moved(name, moved, rng)
            if moved != case and self.legal(moved):
                return moved
        return None

    def _size(self, axis: str, rng: Random) -> int:
        least, most = self.axes[axis]
        fate = rng.random()
        if fate < 0.12:
            return least
        return rng.randint(least, min(most, least + 7) if fate < 0.5 else most)

    def _moved(self, name: str, case: Case, rng: Random) -> object:
        if name in self.options:
            return rng.choice(self.options[name])
        least, most = self.axes[name]
        sizes = [size for size in case.values() if isinstance(size, int) and not isinstance(size, bool)]
        here = case[name]
        assert isinstance(here, int), f"{name} must be a size, got {here!r}"
        step = rng.choice((here - 1, here + 1, rng.choice(sizes), self._size(name, rng)))
        return min(max(step, least), most)

    def _coincide(self, case: dict[str, object], rng: Random) -> None:
        """Force one size to equal, to be a multiple of, or to be the product of others, in 6 draws of 10."""
        fate = rng.random()
        if fate > 0.6 or len(self.axes) < 2:
            return
        axes = rng.sample(list(self.axes), min(3, len(self.axes)))
        sizes = [size for size in (case[axis] for axis in axes[1:]) if isinstance(size, int)]
        least, most = self.axes[axes[0]]
        wanted = sizes[0]
        if fate > 0.45:
            wanted = sizes[0] * sizes[-1] if len(sizes) > 1 else sizes[0] + 1
        elif fate > 0.3:
            wanted = sizes[0] * rng.randint(2, 4)
        if least <= wanted <= most:
            case[axes[0]] = wanted

    def grid(self, points: int) -> Sequence[Case]:
        """List legal cases: all if there are at most `points`, else small sizes and some of the rest."""
        return [case for case in self._product(points) if self.legal(case)]

    def _product(self, points: int) -> Iterator[Case]:
        kept = {axis: list(range(least, most + 1)) for axis, (least, most) in self.axes.items()}
        combinations = 1
        for values in self.options.values():
            combinations *= len(values)
        while combinations * _extent(kept) > points and max(map(len, kept.values()), default=0) > 3:
            longest = max(kept, key=lambda axis: len(kept[axis]))
            kept[longest] = _thinned(kept[longest])
        for values in itertools.product(*kept.values(), *self.options.values()):
            yield dict(zip(self.names, values, strict=True))


def _extent(kept: Mapping[str, Sequence[int]]) -> int:
    extent = 1
    for sizes in kept.values():
        extent *= len(sizes)
    return extent


def _thinned(sizes: list[int]) -> list[int]:
    # Small sizes and the last one stay. The others go at random: an even step would leave only odd sizes.
    gone = Random(len(sizes)).randrange(len(sizes) // 3, len(sizes) - 1)
    return sizes[:gone] + sizes[gone + 1 :]
