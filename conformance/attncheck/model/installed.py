"""What installed distributions add to the suite by entry points: read when it is asked for, not on import."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from attncheck.model.errors import UsageError

MECHANISMS = "attncheck.mechanisms"
CHECKS = "attncheck.checks"
ADAPTERS = "attncheck.adapters"


@lru_cache(maxsize=8)
def points(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name. Raises UsageError if two have one name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise UsageError(
                f"{described(point)}: {described(other)} has that name too; uninstall one of them"
            )
    return found


def loaded(group: str, is_one: Callable[[Any], bool], what: str) -> list[Any]:
    """What the entry points of a group hold, each one object or a tuple of them.

    Raises: UsageError that names distribution and entry point, if one cannot be loaded or holds
    something else than `what`.
    """
    made: list[Any] = []
    for point in points(group).values():
        held = load(point)
        for each in held if isinstance(held, (tuple, list)) else (held,):
            if not is_one(each):
                raise UsageError(f"{described(point)}: expected {what}, got a {type(each).__name__}")
            made.append(each)
    return made


def load(point: EntryPoint) -> Any:
    """What an entry point holds. Raises UsageError that names it, whatever goes wrong."""
    try:
        return point.load()
    except Exception as error:
        message = " ".join(str(error).split())
        raise UsageError(
            f"{described(point)} cannot be loaded: {type(error).__name__}: {message}; mend or uninstall it"
        ) from error


def refuse_known(group: str, ids: list[str], own: Mapping[str, object], what: str) -> None:
    """Raise UsageError if something that is installed has a name that is taken."""
    taken = [name for index, name in enumerate(ids) if name in own or name in ids[:index]]
    if taken:
        offering = ", ".join(described(point) for point in points(group).values())
        raise UsageError(f"there are two {what}s called {taken[0]!r}; give yours another id ({offering})")


def described(point: EntryPoint) -> str:
    """An entry point with its distribution, as a message names it."""
    of = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
    return f"{of}, entry point {point.name!r} of {point.group} ({point.value})"
