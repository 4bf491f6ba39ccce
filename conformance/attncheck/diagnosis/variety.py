"""Which combinations of circumstances the cases have shown so far, so that the next one shows new ones."""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

from attncheck.diagnosis.predicates import columns, evaluate
from attncheck.diagnosis.space import Case, Space

# A combination met once proves nothing: the interest in meeting it again halves each time.
_INTEREST: Final = 0.5


class Variety:
    """Pairs of circumstances met so far: an option's value, a size of one, two equal sizes, their opposites.

    Mistakes are decided by few circumstances at a time, so a few cases that meet every pair show most of
    them; draws at large may meet two equal lengths without a causal mask in one case of thirty.
    """

    def __init__(self, space: Space) -> None:
        texts = [f"{one} == {other}" for one, other in itertools.combinations(space.axes, 2)]
        texts += [f"{axis} <= 1" for axis in space.axes]
        for option, values in space.options.items():
            texts += [_equals(option, value) for value in values]
        self._circumstances = texts
        self._interest = np.ones((2 * len(texts), 2 * len(texts)))

    def most_novel(self, pool: Sequence[Case]) -> Case:
        signs = self._signs(pool)
        novelty = np.einsum("ci,ij,cj->c", signs, self._interest, signs)
        return pool[int(novelty.argmax())]

    def note(self, case: Case) -> None:
        met = self._signs([case])[0].astype(np.bool_)
        self._interest[np.outer(met, met)] *= _INTEREST

    def _signs(self, cases: Sequence[Case]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        table = columns(cases)
        met = (
            np.array([evaluate(text, table) for text in self._circumstances], np.bool_)
            .reshape(-1, len(cases))
            .T
        )
        return np.concatenate([met, ~met], axis=1).astype(np.float64)


def _equals(option: str, value: object) -> str:
    if isinstance(value, bool):
        return option if value else f"not {option}"
    return f"{option} is None" if value is None else f"{option} == {value!r}"
