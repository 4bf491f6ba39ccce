"""Parts of a found adapter as Python text: its import, construction, call, mask and weights."""

import re
import sys
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from pathlib import Path

from attncheck.model.case import Scalar
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import signature_of
from attncheck.targets.entries import by_usual_names
from attncheck.targets.found import DICTIONARY, NAMESPACE, STACKED, Argument, Found, value_of
from attncheck.targets.gating import completed_text
from attncheck.targets.layouts import COORDINATES, layout
from attncheck.targets.masks import MaskForm
from attncheck.targets.placing import Placement, moved
from attncheck.targets.rephrasing import as_source, is_rephrased

WIDTH = 110
# A head's share of a weight, in fewer words than the pattern's.
_CHUNKS = {
    "(h d) -> h d": "chunk({})[i]",
    "(h d) i -> h d i": "chunk({})[i]",
    "(h d) i -> h i d": "chunk({})[i].T",
    "o (h d) -> h o d": "chunk({}, 1)[i]",
    "o (h d) -> h d o": "chunk({}, 1)[i].T",
}


def import_of(target: str, found: Found) -> tuple[list[str], list[str], str]:
    """Modules of the standard library to import, lines that import the target, and its name after them."""
    place, _, name = target.rpartition(":")
    first = name.split(".")[0]
    beside = [found.made_as] if found.config and found.made_as not in (NAMESPACE, DICTIONARY) else []
    wanted = ", ".join([first, *beside])
    if not place.endswith(".py"):
        return [], [f"from {place} import {wanted}"], name
    path = Path(place)
    lines = [f'sys.path.insert(0, "{path.parent.as_posix()}")']
    # A module of that name that is there already would be imported in its place.
    if path.stem.isidentifier() and path.stem not in sys.stdlib_module_names:
        return ["sys"], [*lines, f"from {path.stem} import {wanted}"], name
    lines.append(f'names = runpy.run_path("{path.as_posix()}")')
    lines += [f'{each} = names["{each}"]' for each in (first, *beside)]
    return ["sys", "runpy"], lines, name


def construction(found: Found, name: str, numbers: Mapping[str, Scalar] | None = None) -> str:
    """The expression that builds an instance: over sizes and options, or with their numbers."""
    if not found.is_class:
        return name
    texts = {n: e if numbers is None else repr(value_of(e, numbers)) for n, e in found.arguments.items()}
    arguments = ", ".join(f"{n}={e}" for n, e in texts.items())
    if not found.config:
        return f"{name}({arguments})"
    if found.made_as == DICTIONARY and any(iskeyword(n) for n in texts):
        return f"{name}({{{', '.join(f'{n!r}: {e}' for n, e in texts.items())}}})"
    return f"{name}({found.made_as}({arguments}))"


# Words of expressions that an adapter's file knows by itself.
_NO_SIZES = ("True", "False", "None", "max", "min", "list", "range", "torch", "SimpleNamespace", "dict")


def names_in(expressions: Sequence[str]) -> list[str]:
    """The sizes and options that expressions speak of, in order."""
    words = [w for e in expressions for w in re.findall(r"(?<!['\w.])[A-Za-z_]\w*(?!['\w=])", e)]
    return [w for w in dict.fromkeys(words) if w not in _NO_SIZES]


def rate_text(path: str) -> str:
    """A rate of dropout in a module, by the path to it."""
    owner, _, rate = path.rpartition(".")
    return f'module.get_submodule("{owner}").{rate}'


def rearranged(text: str, pattern: str, heads: str = "heads") -> str:
    """An einops pattern in torch's own words."""
    left, right = (_groups(side) for side in pattern.split("->"))
    for place in reversed(range(len(left))):
        if left[place] == ["1"]:
            text += f".squeeze({place})"
        elif len(left[place]) > 1:
            sizes = ", ".join(heads if axis == "h" else "-1" for axis in left[place])
            text += f".unflatten({place}, ({sizes}))"
    axes = [axis for group in left for axis in group if axis != "1"]
    wanted = [axis for group in right for axis in group if axis != "1"]
    text += _permuted([axes.index(axis) for axis in wanted])
    kept = [group for group in right if group != ["1"]]
    for place in reversed(range(len(kept))):
        if len(kept[place]) > 1:
            start = sum(map(len, kept[:place]))
            text += f".flatten({start}, {start + len(kept[place]) - 1})"
    return text + "".join(f".unsqueeze({place})" for place, group in enumerate(right) if group == ["1"])


def _groups(side: str) -> list[list[str]]:
    return [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\S+", side)]


def _permuted(order: list[int]) -> str:
    moved = [place for place, axis in enumerate(order) if place != axis]
    if not moved:
        return ""
    if len(moved) == 2:
        return f".transpose({moved[0]}, {moved[1]})"
    return f".permute({', '.join(map(str, order))})"


def argument_text(found: Found, argument: Argument) -> str:
    """One argument of the call, over the reference's tensors."""
    if argument.constant:
        value = argument.constant
    else:
        names = argument.tensor.split(",")
        parts = [_laid_out(found, name, argument.layout) for name in names]
        value = parts[0] if not argument.pack else f"[{', '.join(parts)}]"
        if argument.pack.startswith(STACKED):
            value = f"torch.stack({value}, dim={argument.pack.removeprefix(STACKED)})"
        if argument.pack == "last":
            value = f"torch.cat({value}, dim=-1)"
        if argument.pack == "dict":
            value = _dictionary(names, parts, argument.keys)
    return f"{argument.name}={value}" if argument.name else value


def _laid_out(found: Found, name: str, order: str) -> str:
    shape = signature_of(BY_ID[found.mechanism])[found.inputs[name][0]]
    order_of = layout(shape, found.ranks.get(name, len(shape.dims)), order)
    there = order_of.there
    text = rearranged(name, there, rows_of(found) if "(h w)" in there else "heads") if there else name
    text = f"torch.cat([{text}, {text}.flip(-1)])" if order_of.twin else text
    return f"torch.stack([{text} / 2] * {COORDINATES}, dim=-1)" if order_of.vectors else text


def rows_of(found: Found) -> str:
    """How many rows tokens fill that a target takes as pixels: a name of the call, or one."""
    return "height" if "height" in found.takes and "pixels" in found.result_layout else "1"


def _dictionary(names: list[str], parts: list[str], keys: tuple[str, ...]) -> str:
    usual = by_usual_names(names, parts)
    read = {u: p for u, p in usual.items() if u in keys} or usual
    return "{" + ", ".join(f'"{u}": {p}' for u, p in read.items()) + "}"


def result_texts(found: Found, module: str) -> tuple[str, str | None]:
    """The output in the reference's order, and the weights if they come back, over `result`."""
    shape = signature_of(BY_ID[found.mechanism])["out"]
    rank = found.ranks.get("out", len(shape.dims))
    order = layout(shape, rank, found.result_layout)
    out, back = _picked(found.result, module), order.back
    out = f"({out}.sum(-1) / 2)" if order.vectors else out
    out = f"{out}[:1]" if order.twin else out
    rows = f"{next(iter(found.inputs))}.shape[2]" if "(h w)" in back.split("->")[0] else "heads"
    out = rearranged(out, back, rows) if back else out
    out = completed_text(found.mechanism, next(iter(found.inputs)), out, found.gate) if found.gate else out
    return out, None if found.weights is None else _picked(found.weights, module)


def _picked(place: str, module: str) -> str:
    if place == "":
        return "result"
    if place.startswith("self."):
        return f"{module}.{place.removeprefix('self.')}"
    if place.isdigit():
        return f"result[{place}]"
    return f'(result["{place}"] if isinstance(result, dict) else result.{place})'


def mask_text(found: Found, form: MaskForm) -> str:
    """The mask or the lengths as the target takes them, over the reference's tensor of that name."""
    like = next(iter(found.inputs))
    if form.role == "valid_lens":
        return form.role if form.polarity == "lengths" else _spoken(_from_lengths(found, form), form, like)
    if form.polarity == "lengths":
        return f"{_reduced(found, form, ('batch', 'kv_len'))}.sum(-1)"
    if form.axes[-1] == "batch":
        return _spoken(f"{_reduced(found, form, ('batch', *form.axes[:-1]))}.movedim(0, -1)", form, like)
    text = _reduced(found, form, form.axes)
    return _spoken(f"{text}.flatten(0, 1)" if form.folded else text, form, like)


def _spoken(text: str, form: MaskForm, like: str) -> str:
    if form.polarity == "true attends":
        return text
    if form.polarity == "one attends":
        return f"({text}).to({like}.dtype)"
    hidden = f"~({text})" if " < " in text else f"~{text}"
    if form.polarity == "true ignores":
        return hidden
    return f"torch.zeros(1, dtype={like}.dtype).masked_fill({hidden}, -torch.inf)"


def _from_lengths(found: Found, form: MaskForm) -> str:
    signature = signature_of(BY_ID[found.mechanism])
    name, axes = next(
        (n, signature[r].axes)
        for n, roles in found.inputs.items()
        for r in roles
        if "kv_len" in signature[r].axes
    )
    ones = "".join(", None" for axis in form.axes if axis == "1")
    return f"torch.arange({name}.shape[{axes.index('kv_len')}]) < valid_lens[:{ones}, None]"


def _reduced(found: Found, form: MaskForm, axes: tuple[str, ...]) -> str:
    """The reference's mask without the axes that the target does not know: these have size 1."""
    wanted, tokens = list(axes), []
    for axis in signature_of(BY_ID[found.mechanism])[form.role].axes:
        while wanted and wanted[0] == "1" and axis in wanted:
            wanted.pop(0)
            tokens.append("None")
        kept = bool(wanted) and wanted[0] in (axis, "1")
        tokens.append(":" if kept else "0")
        if kept:
            wanted.pop(0)
    while tokens and tokens[-1] == ":":
        tokens.pop()
    return f"{form.role}[{', '.join(tokens)}]" if tokens else form.role


def placed(placement: Placement, weights: str, heads: str | None) -> str:
    """What a tensor of the target holds, over the weights; in einops unless `heads` is given."""
    parts = [f"{weights}[{role!r}]" for role in placement.roles]
    if placement.pattern.startswith("cat"):
        return f"torch.cat([{', '.join(parts)}]){'.T' if placement.pattern.endswith('turned') else ''}"
    if placement.pattern.startswith("columns"):
        return f"torch.cat([{', '.join(parts)}], dim=1){'.T' if placement.pattern.endswith('turned') else ''}"
    text = parts[0] if len(parts) == 1 else f"torch.stack([{', '.join(parts)}])"
    if is_rephrased(placement.pattern):
        return as_source(placement.pattern, text)
    moves, pattern = moved(placement.pattern)
    if "flip" in moves:
        text += ".flip(0)"
    if "roll" in moves:
        text = f"torch.fft.ifftshift({text}, 0)"
    if "last" in moves:
        text += ".roll(-1, 0)"
    if not pattern:
        return text
    if heads is not None:
        return rearranged(text, pattern, heads)
    size = ", h=heads" if needs_heads(placement) else ""
    return f"rearrange({text}, {pattern!r}{size})"


def _split(placement: Placement, weights: str) -> str:
    """Several tensors of the target that hold the rows of one, each as many as it has."""
    whole = f"{weights}[{placement.roles[0]!r}].squeeze(0)"
    rows = f"{whole}.split([own[name].numel() // {whole}[0].numel() for name in {placement.names!r}])"
    if placement.pattern:
        rows = f"(part.T for part in {rows})"
    return f"**dict(zip({placement.names!r}, {rows}))"


def needs_heads(placement: Placement) -> bool:
    """Whether the pattern can only be read with the number of heads."""
    return "h" in re.findall(r"\w+", moved(placement.pattern)[1])


def entry(placement: Placement, weights: str, heads: str | None) -> str:
    """The placement as an entry of a dictionary of the target's tensors."""
    if len(placement.names) > 1:
        return _split(placement, weights)
    value = placed(placement, weights, heads)
    if "{}" not in placement.target:
        return f"{placement.target!r}: {value}"
    name, count = placement.target.replace("{}", "{i}"), heads or "heads"
    split = _CHUNKS.get(placement.pattern)
    if split is not None and len(placement.roles) == 1:
        part = f"{weights}[{placement.roles[0]!r}].{split.format(count)}"
        return f'**{{f"{name}": {part} for i in range({count})}}'
    return f'**{{f"{name}": part for i, part in enumerate({value})}}'
