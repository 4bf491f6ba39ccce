"""The nearest name to one that nobody knows, for messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of some names, or nothing if none is near."""
    near = difflib.get_close_matches(wrong, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
