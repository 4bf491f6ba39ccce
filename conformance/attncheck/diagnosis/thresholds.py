"""Beyond which length a target goes wrong: found by halving, and told as a predicate of sizes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Sizes = Mapping[str, int]
Fails = Callable[[Sizes], bool]

# Where both sides of a map are long, pixels are what is counted.
_SIDES = {"height", "width"}
_PIXELS = "height * width"


@dataclass(frozen=True)
class Threshold:
    """The shortest sizes that fail, and the predicate where few words say it."""

    sizes: Sizes
    text: str | None = None


@dataclass(frozen=True)
class _Line:
    """Sizes along which one number grows, and how that number is called."""

    name: str
    at: Callable[[int], dict[str, int]]
    least: int
    most: int


def threshold(sizes: Sizes, short: Sizes, fails: Fails, seconds: float) -> Threshold:
    """Where a failure at `sizes` begins, counted from the `short` ones.

    Each question may take seconds of a target, so that few are put: the powers of two come first.
    A predicate is told only if it held for every question put.
    """
    ends = time.perf_counter() + seconds
    current = dict(sizes)
    for axis, size in short.items():
        # What can be short is short at once: it makes every later question cheap.
        if current[axis] > size and fails({**current, axis: size}):
            current[axis] = size
    line = _line(current, [axis for axis, size in short.items() if current[axis] > size], short)
    if line is None or not fails(line.at(line.most)):
        return Threshold(current)
    last = _last_right(line, fails, ends)
    if last is None:
        return Threshold(current)
    inside, beyond = last // 3, (last + line.most) // 2 + 1
    if inside > line.least and fails(line.at(inside)):
        # Right beyond sizes that fail, as where a remainder is left out: there is no one beginning.
        return Threshold(threshold(line.at(inside), short, fails, ends - time.perf_counter()).sizes)
    holds = beyond >= line.most or fails(line.at(beyond))
    if line.name == _PIXELS:
        # A map of another form, with no more pixels than are right.
        side = int(last**0.5)
        holds = holds and not fails({**current, "height": side, "width": side})
    return Threshold(line.at(last + 1), f"{line.name} > {last}" if holds else None)


def _line(current: Sizes, long: list[str], short: Sizes) -> _Line | None:
    if set(long) == _SIDES:
        pixels = current["height"] * current["width"]
        return _Line(_PIXELS, lambda n: {**current, "height": n, "width": 1}, 1, pixels)
    if len(long) != 1:
        return None
    (axis,) = long
    return _Line(axis, lambda n: {**current, axis: n}, short[axis], current[axis])


def _last_right(line: _Line, fails: Fails, ends: float) -> int | None:
    """The largest number that is right; None if time ran out or everything fails."""
    low, high = line.least, line.most
    power = 1 << (high - 1).bit_length() - 1
    if low < power < high:
        if fails(line.at(power)):
            high = power
        elif fails(line.at(power + 1)):
            return power
        else:
            low = power + 1
    if low == line.least and fails(line.at(low)):
        return None
    while high - low > 1:
        if time.perf_counter() > ends:
            return None
        middle = (low + high) // 2
        low, high = (low, middle) if fails(line.at(middle)) else (middle, high)
    return low
