"""What low precision may cost: the budget of an error, from the reference's own. The derivation is in docs/tolerance.md."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from attncheck.checks.check import Judgement, Mismatch, NotJudged
from attncheck.checks.oracle import expect, in_float64
from attncheck.model.recipe import Recipe
from attncheck.strategies.tolerance import ROUNDOFF, difference
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

# Roundings up to which an error is a measure of what can be expected.
_TRUSTED = 64


def within_budget(
    actual: Tensor,
    like: Tensor,
    truth: Tensor,
    what: str = "the output",
    moved: Callable[[], float] = lambda: 0.0,
) -> Judgement:
    """An error of at most 3 times the reference's own in that dtype, plus 16 roundings of its scale.

    `moved` tells how far the truth itself moves when what goes in moves by a rounding: asked for where that counts.
    """
    if actual.shape != truth.shape:
        shape = tuple(truth.shape)
        return Mismatch(f"{what} of shape {shape}", f"shape {tuple(actual.shape)}", kind="wrong shape")
    gap, own, unit = difference(actual, truth), difference(like, truth).gap, ROUNDOFF[actual.dtype]
    if gap.gap <= _allowed(own, 0.0, unit):
        return None
    # A reference may be right by luck where values cancel; nobody else can be expected to be.
    least = moved()
    allowed = _allowed(own, least, unit)
    if gap.gap <= allowed:
        return None
    dtype = str(actual.dtype).removeprefix("torch.")
    if max(own, least) > _TRUSTED * unit:
        # It is no measure there, and nobody else can be measured.
        return NotJudged(
            f"the reference itself is off by {max(own, least):.2g} of the largest value in {dtype}"
        )
    return Mismatch(
        f"{what} within {allowed:.2g} of the largest value ({dtype})",
        f"off by {gap.gap:.2g} times that, the reference by {own:.2g}: {gap}",
        gap.gap,
        "imprecise",
    )


def _allowed(own: float, moved: float, unit: float) -> float:
    return max(3 * min(own, _TRUSTED * unit), min(moved, _TRUSTED * unit)) + 16 * unit


def moved_by_rounding(subject: Subject, ask: Ask, dtype: torch.dtype, truth: Tensor) -> float:
    """How far the true output moves, of three tries, when every number that goes in moves by a unit in its last place."""
    return max(
        difference(expect(subject, _moved(in_float64(ask), 2 * ROUNDOFF[dtype], seed)).out, truth).gap
        for seed in (1, 2, 3)
    )


def _moved(ask: Ask, part: float, seed: int) -> Ask:
    """The question with every number that goes in moved by a part of itself."""

    def nudged(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
        return {
            name: recipe
            if recipe.dtype in ("int64", "bool")
            else recipe.edit("nudge", None, (part, 97 * seed + index))
            for index, (name, recipe) in enumerate(recipes.items())
        }

    return replace(ask, inputs=nudged(ask.inputs), parameters=nudged(ask.parameters))
