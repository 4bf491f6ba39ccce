"""Recipes and their edits as lines of torch: how a script makes the tensors of a question."""

from collections.abc import Callable, Mapping

from torch import Tensor

from attncheck.engine.tracing import literal
from attncheck.model.recipe import Edit, Recipe
from attncheck.strategies.tensors import make, permutation

# More than this many entries of a mask are not written out.
_MOST_WRITTEN = 48


class NoWordsError(Exception):
    """A script cannot say this."""


def made(recipe: Recipe) -> str:
    """The expression of a recipe without its edits: random values like its own, a mask's very own."""
    shape = ", ".join(map(str, recipe.shape))
    if recipe.kind in (
        "lengths",
        "random_mask",
        "padding_mask",
        "mixed_mask",
        "last_key_mask",
        "full_mask",
        "dead_row_mask",
        "one_dead_row_mask",
    ):
        return _written(Recipe(recipe.shape, recipe.kind, recipe.seed, recipe.dtype, recipe.scale))
    if recipe.scale != 1.0 or recipe.rounded:
        raise NoWordsError(f"a recipe of scale {recipe.scale}")
    dtype = f"dtype=torch.{recipe.dtype}"
    if recipe.kind == "positive":
        return f"torch.rand({shape}, {dtype}) + 0.5"
    return f"torch.randn({shape}, {dtype})"


def _written(recipe: Recipe) -> str:
    tensor = make(recipe)
    if tensor.numel() <= _MOST_WRITTEN:
        return literal(tensor)
    keys = recipe.shape[-1]
    if recipe.kind == "full_mask":
        return f"torch.ones({', '.join(map(str, recipe.shape))}, dtype=torch.bool)"
    if recipe.kind in ("last_key_mask", "padding_mask"):
        counts = tensor.reshape(recipe.shape[0], -1, keys)[:, 0].sum(-1).tolist()
        ones = ", 1" * (len(recipe.shape) - 1)
        shape = ", ".join(map(str, recipe.shape))
        return f"(torch.arange({keys}) < torch.tensor({counts}).reshape(-1{ones})).expand({shape})"
    raise NoWordsError(f"a {recipe.kind} of {tensor.numel()} entries")


def edited(name: str, edit: Edit, before: Tensor, constants: dict[str, Tensor]) -> str:
    """The expression of one more edit of the tensor called `name`; it may need a named constant."""
    if edit.op not in _WORDS:
        raise NoWordsError(f"the edit {edit.op}")
    return _WORDS[edit.op](name, edit, before, constants)


def _at(name: str, axis: int | None, index: str) -> str:
    return f"{name}[{':, ' * (axis or 0)}{index}]"


def _pair(edit: Edit) -> tuple[int, float]:
    assert isinstance(edit.argument, tuple), f"the edit {edit.op} has an index and a number"
    return int(edit.argument[0]), edit.argument[1]


def _number(edit: Edit) -> float:
    assert isinstance(edit.argument, (int, float)), f"the edit {edit.op} has a number"
    return edit.argument


def _named(order: Tensor, constants: dict[str, Tensor]) -> str:
    for name, constant in constants.items():
        if constant.shape == order.shape and bool((constant == order).all()):
            return name
    name = "order" if "order" not in constants else f"order{len(constants) + 1}"
    constants[name] = order
    return name


def _permute(name: str, edit: Edit, before: Tensor, constants: dict[str, Tensor]) -> str:
    order = permutation(before.shape[edit.axis or 0], int(_number(edit)))
    return _at(name, edit.axis, _named(order, constants))


def _shuffle(name: str, edit: Edit, before: Tensor, constants: dict[str, Tensor]) -> str:
    flat = before.flatten(edit.axis or 0)
    order = _named(permutation(flat.shape[-1], int(_number(edit))), constants)
    return f"{name}.flatten({edit.axis})[..., {order}].reshape({name}.shape)"


def _shift(name: str, edit: Edit, before: Tensor, _: dict[str, Tensor]) -> str:
    shape = [1 if place == edit.axis else size for place, size in enumerate(before.shape)]
    return f"{name} + torch.randn({', '.join(map(str, shape))}, dtype={name}.dtype)"


def _from(name: str, edit: Edit, fresh: str) -> str:
    index, _ = _pair(edit)
    first, rest = _at(name, edit.axis, f":{index}"), _at(name, edit.axis, f"{index}:")
    return f"torch.cat([{first}, {fresh.format(rest)}], dim={edit.axis})"


def _scattered(name: str, edit: Edit, fresh: str) -> str:
    index, _ = _pair(edit)
    part = f"{name}.select({edit.axis}, {index})"
    return f"{name}.select_scatter({fresh.format(part)}, {edit.axis}, {index})"


Words = Callable[[str, Edit, Tensor, dict[str, Tensor]], str]
_WORDS: Mapping[str, Words] = {
    "permute": _permute,
    "shuffle": _shuffle,
    "shift": _shift,
    "take": lambda n, e, _, __: _at(n, e.axis, f"{int(_number(e))}:{int(_number(e)) + 1}"),
    "narrow": lambda n, e, _, __: _at(n, e.axis, f":{int(_number(e))}"),
    "repeat": lambda n, e, _, __: f"torch.cat([{n}] * {int(_number(e))}, dim={e.axis})",
    "mean": lambda n, e, _, __: f"{n}.mean({e.axis}, keepdim=True).expand_as({n})",
    "scale": lambda n, e, _, __: f"{n} * {_number(e)}",
    "add": lambda n, e, _, __: f"{n} + {_number(e)}",
    "at_most": lambda n, e, _, __: f"{n}.clamp(max={int(_number(e))})",
    "zero": lambda n, _, __, ___: f"torch.zeros_like({n})",
    "identity": lambda n, _, __, ___: f"torch.eye(*{n}.shape, dtype={n}.dtype)",
    "renew": lambda n, _, __, ___: f"torch.randn_like({n})",
    "renew_from": lambda n, e, _, __: _from(n, e, "torch.randn_like({})"),
    "fill_from": lambda n, e, _, __: _from(n, e, f"torch.full_like({{}}, {_pair(e)[1]})"),
    "renew_at": lambda n, e, _, __: _scattered(n, e, "torch.randn_like({})"),
    "put": lambda n, e, _, __: _scattered(n, e, f"torch.full_like({{}}, {_pair(e)[1]})"),
    "flip": lambda n, e, _, __: f"{n}.flip({e.axis})",
    "swap": lambda n, e, _, __: f"{n}.transpose({e.axis}, {int(_number(e))}).contiguous()",
    "absolute": lambda n, _, __, ___: f"{n}.abs()",
    "rectify": lambda n, _, __, ___: f"{n}.relu()",
}

LAYOUTS: Mapping[str, str] = {
    "transposed": "{0}.mT.contiguous().mT",
    "offset": "torch.cat([torch.zeros(3, dtype={0}.dtype), {0}.flatten()])[3:].view({0}.shape)",
    "expanded": "{0}[:1].expand({0}.shape)",
    "expanded_copy": "{0}[:1].expand({0}.shape).contiguous()",
    "channels_last": "{0}.transpose(0, 1).contiguous().transpose(0, 1)",
}
