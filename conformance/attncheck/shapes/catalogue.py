"""Every mechanism that can be judged: the references' own, then those that installed distributions add."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from attncheck.model import installed
from attnref import Mechanism
from attnref.catalogue import BY_ID as OWN
from attnref.catalogue import MECHANISMS


class _ById(Mapping[str, Mechanism]):
    """Mechanisms by id; what is installed is read when a name is none of our own, or all are wanted."""

    def __getitem__(self, name: str) -> Mechanism:
        return OWN[name] if name in OWN else _added()[name]

    def __contains__(self, name: object) -> bool:
        return name in OWN or name in _added()

    def __iter__(self) -> Iterator[str]:
        yield from OWN
        yield from _added()

    def __len__(self) -> int:
        return len(OWN) + len(_added())


BY_ID: Mapping[str, Mechanism] = _ById()


def mechanisms() -> tuple[Mechanism, ...]:
    """All of them, in the order of the docs. Raises UsageError if an entry point is broken."""
    return (*MECHANISMS, *_added().values())


@lru_cache(maxsize=1)
def _added() -> Mapping[str, Mechanism]:
    found = installed.loaded(
        installed.MECHANISMS, lambda one: isinstance(one, Mechanism), "an attnref.Mechanism or several"
    )
    installed.refuse_known(installed.MECHANISMS, [m.id for m in found], OWN, "mechanism")
    return {mechanism.id: mechanism for mechanism in found}
