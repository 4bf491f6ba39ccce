"""Which sizes to try: distinct primes, ones, coincidences, one past a block, then at random."""

import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import CodeType

from attncheck.model.case import Scalar

# Pairwise different, so that no mix-up of two axes fits by luck; primes where nothing must divide.
BASE: Mapping[str, int] = {
    "batch": 2, "heads": 3, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 11, "model_dim": 12,
    "query_size": 13, "key_size": 17, "value_size": 19, "hidden": 23, "tokens": 6, "window": 3,
    "channels": 12, "out_channels": 16, "reduced": 4, "groups": 2, "branches": 3, "height": 5, "width": 7,
    "time": 3, "length": 9, "kernel": 3, "stride": 1, "reduction": 2, "classes": 10,
    "gate_kernel": 5, "least_reduced": 3,
}  # fmt: skip

# Mechanisms whose smallest legal sizes are too small to tell mistakes apart, or too slow.
OWN: Mapping[str, Mapping[str, int]] = {
    # The head sees a map of one row and two columns.
    "modified_resnet": {"channels": 5, "hidden": 6, "height": 33, "width": 65},
}

# Axes along which a kernel works in blocks; their large sizes are worth one case each.
LONG = ("q_len", "kv_len", "tokens", "height", "width", "length")
# Axes that are summed over or stored, or taken some at a time; blocks and buffers are made for so many, and more are cut off.
WIDE = (
    "batch", "heads", "head_dim", "v_dim", "model_dim", "query_size", "key_size", "value_size", "hidden",
    "channels", "out_channels", "reduced", "least_reduced", "classes",
)  # fmt: skip
_SMALL = ("reduction", "stride", "groups", "branches", "kernel", "time")
_IMAGE = ("height", "width", "time")
# The side of a large map that is large in both directions: one past a block.
_WIDE = 33
_DIVIDES = re.compile(r"\b(\w+) % (\w+|\([\w* ]+\)) == 0")
# A number, or a power of one that an option tells.
_AT_LEAST = re.compile(r"(\w+) >= (\d+(?: \*\* \(\w+ [+-] \d+\) [+-] \d+)?)")


@dataclass(frozen=True)
class Rules:
    """What sizes must obey: ties, defaults and conditions, all as names and expressions."""

    axes: tuple[str, ...]
    ties: Mapping[str, str]
    defaults: Mapping[str, str]
    conditions: tuple[str, ...]
    options: Mapping[str, Scalar]
    fixed: Mapping[str, int]
    own: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def base(self) -> Mapping[str, int]:
        """Sizes to begin with."""
        return {**BASE, **self.own}

    @cached_property
    def primary(self) -> tuple[str, ...]:
        """Axes whose size is chosen; the others follow."""
        return tuple(
            a for a in self.axes if a not in self.ties and a not in self.defaults and a not in self.fixed
        )

    def complete(self, chosen: Mapping[str, int]) -> dict[str, int] | None:
        """Sizes of all axes, or None if a condition forbids them."""
        sizes = {**chosen, **self.fixed}
        for axis, least in self._minima:
            if axis in self.primary and sizes.get(axis, least) < least:
                # Counted from the least legal size: different sizes stay different.
                sizes[axis] += least - 1
        for a, b in self._multiples:
            try:
                divisor = value(b, {**self.options, **sizes})
            except NameError:
                continue
            if a in self.primary and isinstance(divisor, int) and divisor and sizes[a] % divisor:
                sizes[a] = divisor * max(1, round(sizes[a] / divisor))
        if not self._follow(sizes):
            return None
        names: dict[str, Scalar] = {**self.options, **sizes}
        return sizes if all(value(c, names) for c in self.conditions) else None

    def planned(self, plan: Mapping[str, int]) -> dict[str, int] | None:
        """The base sizes with a plan's changes, or None if the plan is not for these axes."""
        if plan and next(iter(plan)) not in self.primary:
            return None
        base = {axis: self.base[axis] for axis in self.primary}
        changes = {a: size for a, size in plan.items() if a in base}
        sizes = self.complete({**base, **changes})
        if sizes is not None and changes and _pixels(sizes) > max(_WIDE**2, _pixels(self.base)):
            # A map that must be square is long in both directions: its pixels may all be compared.
            sizes = self.complete({**base, **{a: min(size, _WIDE) for a, size in changes.items()}})
        return sizes

    def _follow(self, sizes: dict[str, int]) -> bool:
        """Fill in what is tied to other sizes or follows from them; False if they wait for each other."""
        waiting = {
            **self.ties,
            **{a: e for a, e in self.defaults.items() if a not in self.ties},
        }
        waiting = {
            axis: expression for axis, expression in waiting.items() if axis not in sizes or axis in self.ties
        }
        while waiting:
            ready = {}
            for axis, expression in waiting.items():
                try:
                    ready[axis] = int(value(expression, {**self.options, **sizes}))
                except NameError:
                    continue
            if not ready:
                return False
            sizes |= ready
            waiting = {axis: e for axis, e in waiting.items() if axis not in ready}
        return True

    @cached_property
    def _multiples(self) -> list[tuple[str, str]]:
        return [pair for c in self.conditions for pair in _DIVIDES.findall(c)]

    @cached_property
    def _minima(self) -> list[tuple[str, int]]:
        parts = (_AT_LEAST.fullmatch(part) for c in self.conditions for part in c.split(" and "))
        return [(m[1], value(m[2], self.options)) for m in parts if m]


def _pixels(sizes: Mapping[str, int]) -> int:
    return math.prod(sizes.get(axis, 1) for axis in _IMAGE)


def value(expression: str, names: Mapping[str, Scalar]) -> int:
    """The value of a contract's expression. Raises NameError on an unknown name."""
    return eval(_compiled(expression), {"__builtins__": {"max": max, "min": min}}, dict(names))  # type: ignore[no-any-return]


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<contract>", "eval")


def plans(axes: tuple[str, ...], base: Mapping[str, int], large: int) -> list[dict[str, int]]:
    """Changes of the base, the first one none: ones, coincidences, and one long axis at a time."""
    made: list[dict[str, int]] = [{}]
    made += [{axis: 1} for axis in axes]
    # Of one pixel, which may well be negative in every channel.
    made += [{"height": 1, "width": 1}] if {"height", "width"} <= set(axes) else []
    made += [{a: base[b]} for a, b in _coincidences(axes)]
    made += [{"q_len": 1, "kv_len": 1}] if {"q_len", "kv_len"} <= set(axes) else []
    # Beside a long side an image is narrow: some mechanisms compare every pixel with every other.
    made += [
        {axis: large, **{a: 2 for a in _IMAGE if axis in _IMAGE and a != axis}}
        for axis in axes
        if axis in LONG
    ]
    # Where the base sizes are slow, wide ones take minutes.
    made += _wide(axes, large) if base == BASE else []
    made += [{"kernel": k} for k in (5, 7) if "kernel" in axes]
    made += [{"stride": s} for s in (2, 3) if "stride" in axes]
    made += [{"heads": h} for h in (2, 4) if "heads" in axes]
    # As in self-attention: whatever stands in another's place fits.
    made += (
        [{"q_len": base["kv_len"], "query_size": base["key_size"], "value_size": base["key_size"]}]
        if {"q_len", "kv_len", "query_size", "key_size"} <= set(axes)
        else []
    )
    # Keys and values as wide as what they are projected to: either's projection fits the other, and twice.
    wide = base["heads"] * base["head_dim"]
    made += (
        [{"key_size": wide, "value_size": wide, "v_dim": base["head_dim"]}]
        if {"key_size", "value_size", "heads"} <= set(axes)
        else []
    )
    # As wide as what it is projected to: a projection that is left out fits.
    made += (
        [{"value_size": base["heads"] * base["v_dim"]}]
        if {"value_size", "heads", "v_dim"} <= set(axes)
        else []
    )
    return made


def _wide(axes: tuple[str, ...], large: int) -> list[dict[str, int]]:
    made = [{axis: large} for axis in axes if axis in WIDE]
    # One head as wide as the whole, where heads share it.
    made += [{axis: large, "heads": 1} for axis in ("model_dim", "channels") if {axis, "heads"} <= set(axes)]
    return made + ([{"reduction": 16, "channels": 64}] if {"reduction", "channels"} <= set(axes) else [])


def _coincidences(axes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Pairs of axes whose equality hides a mix-up, or reveals one that otherwise raises."""
    wanted = (
        ("batch", "heads"), ("q_len", "kv_len"), ("kv_len", "q_len"), ("batch", "q_len"), ("heads", "q_len"),
        ("v_dim", "head_dim"), ("query_size", "key_size"), ("key_size", "model_dim"), ("key_size", "head_dim"),
        ("query_size", "head_dim"), ("value_size", "model_dim"), ("v_dim", "value_size"), ("v_dim", "key_size"),
        ("height", "width"), ("batch", "channels"), ("out_channels", "channels"),
        ("batch", "out_channels"), ("hidden", "query_size"), ("tokens", "heads"), ("batch", "tokens"),
        ("v_dim", "channels"), ("classes", "channels"),
    )  # fmt: skip
    return ((a, b) for a, b in wanted if a in axes and b in axes)


def draw(rules: Rules, rng: random.Random) -> dict[str, int] | None:
    """Sizes at random: small ones mostly, now and then one wide or two equal; None if they are not legal."""
    chosen = {
        axis: _near(rules.own[axis], rng) if axis in rules.own else _draw(axis, rng) for axis in rules.primary
    }
    wide = [axis for axis in chosen if axis in WIDE] if rules.base == BASE else []
    if wide and rng.random() < 0.2:
        chosen[rng.choice(wide)] = rng.randint(18, 80)
    elif len(chosen) > 1 and rng.random() < 0.3:
        a, b = rng.sample(list(chosen), 2)
        # A size of its own is one that costs little: as many channels as pixels take seconds.
        if not {a, b} & {*_SMALL, *rules.own}:
            chosen[a] = chosen[b]
    return rules.complete(chosen)


def _near(size: int, rng: random.Random) -> int:
    return rng.randint(max(1, size // 2), size + size // 2)


def _draw(axis: str, rng: random.Random) -> int:
    if axis == "kernel":
        return rng.choice((1, 3, 5, 7))
    if axis in _SMALL:
        return rng.randint(1, 4)
    if axis in ("channels", "out_channels", "hidden"):
        return rng.choice((4, 6, 8, 9, 12, 15, 16, 20))
    if axis in ("batch", "heads"):
        return rng.randint(1, 6)
    return rng.randint(1, 17)
