"""Makes tensors from recipes: the same in the judge's process and in the target's."""

import math
import zlib
from collections.abc import Callable, Mapping

# Every function is taken before a target is imported, which may replace torch's own.
import torch
from torch import (
    Generator,
    arange,
    as_strided,
    cat,
    empty,
    eye,
    float64,
    full,
    rand,
    randn,
    randperm,
    uint8,
    zeros,
)

from attncheck.model.recipe import Edit, Recipe
from attncheck.strategies.masks import MASKS

DTYPES: Mapping[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int64": torch.int64,
    "bool": torch.bool,
}
_CPU = torch.device("cpu")


def make(recipe: Recipe, device: str = "cpu") -> torch.Tensor:
    """The tensor of a recipe. Values are drawn in float64 on the CPU whatever dtype and device are."""
    tensor = _KINDS[recipe.kind](recipe, _generator(recipe.seed))
    for edit in recipe.edits:
        tensor = _EDITS[edit.op](tensor, edit, recipe)
    if recipe.rounded:
        tensor = tensor.to(DTYPES[recipe.rounded])
    tensor = tensor.to(device=device, dtype=DTYPES[recipe.dtype])
    return _laid_out(tensor, recipe.layout)


def digest(tensor: torch.Tensor) -> int:
    """A checksum of the values and the shape, the same in every process."""
    data = in_bytes(tensor.detach().to("cpu")).numpy().tobytes()
    return zlib.crc32(data, zlib.crc32(repr(tuple(tensor.shape)).encode()))


def in_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor of the CPU, one after the other."""
    flat = tensor.contiguous().reshape(-1)
    if flat.numel() == 1 and flat.stride(0) != 1:
        # A single number counts as contiguous whatever its stride is, and only stride 1 can be read as bytes.
        flat = empty(1, dtype=flat.dtype, device=_CPU).copy_(flat)
    return flat.view(uint8)


def _generator(seed: int) -> torch.Generator:
    return Generator(device=_CPU).manual_seed(seed)


def _normal(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    values = randn(recipe.shape, dtype=float64, generator=generator, device=_CPU)
    if values.dim() > 1 and values.shape[0] > 1:
        # Uneven samples: what leaks from one into another cannot hide behind equal magnitudes.
        factors = 0.75 + 0.5 * arange(values.shape[0], dtype=float64, device=_CPU) / (values.shape[0] - 1)
        values = values * factors.reshape(-1, *[1] * (values.dim() - 1))
    return values * recipe.scale


def _weight(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    fan_in = max(1, math.prod(recipe.shape[1:]))
    values = randn(recipe.shape, dtype=float64, generator=generator, device=_CPU)
    return values * (recipe.scale / math.sqrt(fan_in))


def _vector(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    # Away from zero: a bias or a gate that happens to be tiny would hide what depends on it.
    values = randn(recipe.shape, dtype=float64, generator=generator, device=_CPU) * 0.5
    return (values + 0.25 * values.sign()) * recipe.scale


def _positive(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    return 0.5 + rand(recipe.shape, dtype=float64, generator=generator, device=_CPU)


_KINDS: Mapping[str, Callable[[Recipe, torch.Generator], torch.Tensor]] = {
    "normal": _normal,
    "weight": _weight,
    "vector": _vector,
    "positive": _positive,
    **MASKS,
}


def _axis(edit: Edit) -> int:
    assert edit.axis is not None, f"the edit {edit.op} needs an axis"
    return edit.axis


def _number(edit: Edit) -> float:
    assert isinstance(edit.argument, (int, float)), f"the edit {edit.op} needs a number"
    return edit.argument


def _pair(edit: Edit) -> tuple[int, float]:
    assert isinstance(edit.argument, tuple), f"the edit {edit.op} needs an index and a number"
    return int(edit.argument[0]), edit.argument[1]


def _fresh(tensor: torch.Tensor, recipe: Recipe, seed: float) -> torch.Tensor:
    shaped = Recipe(tuple(tensor.shape), recipe.kind, int(seed), scale=recipe.scale)
    return _KINDS[recipe.kind](shaped, _generator(int(seed)))


def _permute(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    return tensor.index_select(_axis(edit), permutation(tensor.shape[_axis(edit)], int(_number(edit))))


def permutation(length: int, seed: int) -> torch.Tensor:
    """A permutation of `length` entries that moves something wherever that is possible."""
    order = randperm(length, generator=_generator(seed), device=_CPU)
    return order.roll(1) if length > 1 and bool((order == arange(length, device=_CPU)).all()) else order


def _shift(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[_axis(edit)] = 1
    return tensor + randn(shape, dtype=float64, generator=_generator(int(_number(edit))), device=_CPU)


def _renew_from(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, seed = _pair(edit)
    old = tensor.narrow(_axis(edit), 0, index)
    new = _fresh(tensor, recipe, seed).narrow(_axis(edit), index, tensor.shape[_axis(edit)] - index)
    return cat([old, new], dim=_axis(edit))


def _renew_at(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, seed = _pair(edit)
    new = _fresh(tensor, recipe, seed).select(_axis(edit), index)
    return tensor.select_scatter(new, _axis(edit), index)


def _fill_from(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, value = _pair(edit)
    old = tensor.narrow(_axis(edit), 0, index)
    rest = list(tensor.shape)
    rest[_axis(edit)] -= index
    return cat([old, full(rest, value, dtype=tensor.dtype, device=_CPU)], dim=_axis(edit))


def _shuffle(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    flat = tensor.flatten(_axis(edit))
    order = permutation(flat.shape[-1], int(_number(edit)))
    return flat.index_select(_axis(edit), order).reshape(tensor.shape)


def _shuffle_from(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, seed = _pair(edit)
    order = permutation(tensor.shape[_axis(edit)] - index, int(seed)) + index
    return tensor.index_select(_axis(edit), cat([arange(index, device=_CPU), order]))


def _renew_place(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    assert isinstance(edit.argument, tuple), "the edit renew_place needs a row, a column and a seed"
    row, column, seed = (int(number) for number in edit.argument)
    changed, new = tensor.clone(), _fresh(tensor, recipe, seed)
    first = _axis(edit)
    changed.select(first, row).select(first, column).copy_(new.select(first, row).select(first, column))
    return changed


def _renew_but(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, seed = _pair(edit)
    return _fresh(tensor, recipe, seed).select_scatter(tensor.select(_axis(edit), index), _axis(edit), index)


def _level(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    flat = tensor.flatten(_axis(edit))
    if flat.shape[-1] < 2:
        return tensor
    place = flat.argmax(-1, keepdim=True)
    largest = flat.gather(-1, place)
    rest = (flat.sum(-1, keepdim=True) - largest) / (flat.shape[-1] - 1)
    return rest.expand(flat.shape).scatter(-1, place, largest).reshape(tensor.shape)


def _pad(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[_axis(edit)] = int(_number(edit))
    border = zeros(shape, dtype=tensor.dtype, device=_CPU)
    return cat([border, tensor, border], dim=_axis(edit))


def _put(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    index, value = _pair(edit)
    entry = full(tensor.select(_axis(edit), index).shape, value, dtype=tensor.dtype, device=_CPU)
    return tensor.select_scatter(entry, _axis(edit), index)


def _stir(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    return tensor + randn(tensor.shape, dtype=float64, generator=_generator(int(_number(edit))), device=_CPU)


def _nudge(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    assert isinstance(edit.argument, tuple), "the edit nudge needs a part and a seed"
    part, seed = edit.argument
    signs = randn(tensor.shape, dtype=float64, generator=_generator(int(seed)), device=_CPU).sign()
    return tensor * (1 + part * signs)


def _share(tensor: torch.Tensor, edit: Edit, recipe: Recipe) -> torch.Tensor:
    groups = int(_number(edit))
    width = tensor.shape[0] // _axis(edit)
    heads = tensor.reshape(groups, _axis(edit) // groups, width, *tensor.shape[1:])
    return heads[:, :1].expand(heads.shape).reshape(tensor.shape)


_EDITS: Mapping[str, Callable[[torch.Tensor, Edit, Recipe], torch.Tensor]] = {
    "permute": _permute,
    "take": lambda t, e, r: t.narrow(_axis(e), int(_number(e)), 1),
    "narrow": lambda t, e, r: t.narrow(_axis(e), 0, int(_number(e))),
    "repeat": lambda t, e, r: cat([t] * int(_number(e)), dim=_axis(e)),
    "mean": lambda t, e, r: t.mean(_axis(e), keepdim=True).expand(t.shape).clone(),
    "scale": lambda t, e, r: t * _number(e),
    "add": lambda t, e, r: t + _number(e),
    "at_most": lambda t, e, r: t.clamp(max=int(_number(e))),
    "shift": _shift,
    "zero": lambda t, e, r: zeros(t.shape, dtype=t.dtype, device=_CPU),
    "renew": lambda t, e, r: _fresh(t, r, _number(e)),
    "renew_from": _renew_from,
    "renew_at": _renew_at,
    "fill_from": _fill_from,
    "share": _share,
    "identity": lambda t, e, r: eye(*t.shape, dtype=t.dtype, device=_CPU),
    "flip": lambda t, e, r: t.flip(_axis(e)),
    "shuffle": _shuffle,
    "shuffle_from": _shuffle_from,
    "renew_place": _renew_place,
    "renew_but": _renew_but,
    "level": _level,
    "pad": _pad,
    "put": _put,
    "absolute": lambda t, e, r: t.abs(),
    "rectify": lambda t, e, r: t.clamp(min=0),
    "stir": _stir,
    "nudge": _nudge,
    "swap": lambda t, e, r: t.transpose(_axis(e), int(_number(e))).contiguous(),
}


def _laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values with other strides."""
    if layout == "contiguous" or tensor.dim() < 2 or not tensor.numel():
        # An edit may have left a view.
        return tensor.contiguous()
    if layout == "transposed":
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "offset":
        room = zeros(tensor.numel() + 3, dtype=tensor.dtype, device=tensor.device)
        view = as_strided(room, tensor.shape, tensor.stride(), 3)
        return view.copy_(tensor)
    if layout == "expanded":
        # Stride zero along the first axis: every sample is the first one.
        return tensor[:1].expand(tensor.shape)
    if layout == "expanded_copy":
        return tensor[:1].expand(tensor.shape).contiguous()
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)
