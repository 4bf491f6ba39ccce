"""The names under which a dictionary of tensors is looked into."""

from collections.abc import Sequence
from typing import TypeVar

from attncheck.targets.names import INPUTS

T = TypeVar("T")

# Names by which the mechanisms call what queries, keys and values are elsewhere.
_ALIASES = {"queries": "q", "keys": "k", "values": "v", "y": "kv"}


def by_usual_names(names: Sequence[str], held: Sequence[T]) -> dict[str, T]:
    """A dictionary that holds each tensor, or the words for it, under every name it usually goes by."""
    return {
        usual: one
        for name, one in zip(names, held, strict=True)
        for usual in (name, *INPUTS.get(_ALIASES.get(name, name), ()))
    }
