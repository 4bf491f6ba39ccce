"""Masks and lengths of random recipes: which keys a query, or every query of a sample, may attend to."""

from collections.abc import Callable, Mapping

# Every function is taken before a target is imported, which may replace torch's own.
import torch
from torch import Generator, arange, device, float64, ones, rand, randint
from torch import (
    bool as bool_dtype,
)

from attncheck.model.recipe import Recipe

_CPU = device("cpu")


def _lengths(recipe: Recipe, generator: Generator) -> torch.Tensor:
    longest = int(recipe.scale)
    return randint(1, max(longest, 1) + 1, recipe.shape, generator=generator, device=_CPU).clamp(max=longest)


def _random_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    mask = rand(recipe.shape, dtype=float64, generator=generator, device=_CPU) < 0.6
    if mask.shape[-1]:
        # One visible key in every row, at a random place.
        place = randint(0, mask.shape[-1], (*mask.shape[:-1], 1), generator=generator, device=_CPU)
        mask = mask.scatter(-1, place, ones(place.shape, dtype=bool_dtype, device=_CPU))
    return mask


def _padding_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    *rows, keys = recipe.shape
    # Lengths from two up where possible: one visible key hides mistakes of precedence.
    low = min(2, keys)
    first = int(randint(0, keys - low + 1, (1,), generator=generator, device=_CPU))
    lengths = (first + arange(rows[0] if rows else 1, device=_CPU)) % (keys - low + 1) + low
    visible = arange(keys, device=_CPU) < lengths.reshape(-1, *[1] * len(rows))
    return visible.expand(recipe.shape).clone()


def _last_key_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    return (arange(recipe.shape[-1], device=_CPU) < max(recipe.shape[-1] - 1, 1)).expand(recipe.shape).clone()


def _full_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    return ones(recipe.shape, dtype=bool_dtype, device=_CPU)


def _dead_row_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    mask = _random_mask(recipe, generator)
    if mask.dim() > 1:
        mask[..., 0, :] = False
    return mask


def _one_dead_row_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    mask = _random_mask(recipe, generator)
    if mask.dim() > 1 and mask.numel():
        mask[0, ..., 0, :] = False
    return mask


def _mixed_mask(recipe: Recipe, generator: Generator) -> torch.Tensor:
    mask = _random_mask(Recipe((1, *recipe.shape[1:]), recipe.kind, recipe.seed), generator)
    # The first key stays visible, so that every row sees one behind any padding.
    mask[..., :1] = True
    return mask & _padding_mask(recipe, generator)


MASKS: Mapping[str, Callable[[Recipe, Generator], torch.Tensor]] = {
    "lengths": _lengths,
    "random_mask": _random_mask,
    "padding_mask": _padding_mask,
    "mixed_mask": _mixed_mask,
    "last_key_mask": _last_key_mask,
    "full_mask": _full_mask,
    "dead_row_mask": _dead_row_mask,
    "one_dead_row_mask": _one_dead_row_mask,
}
