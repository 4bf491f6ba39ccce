"""Masks that hide nothing, for a call that cannot do without one."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from attncheck.targets.adapter import signature_of
from attncheck.targets.found import Found
from attncheck.targets.masks import MaskForm, forms
from attncheck.targets.names import is_mask
from attnref import Mechanism


def unmasked(base: Found, mechanism: Mechanism) -> Iterator[Found]:
    """The same call with a mask that hides nothing where None stood, in every form a mask has."""
    blank = [a.name for a in base.call if a.constant == "None" and is_mask(a.name)]
    roles = [t for t in signature_of(mechanism).inputs if t.optional and t.name in ("mask", "valid_lens")]
    if not blank or not roles:
        return
    axes = roles[0].axes if roles[0].kind == "bool" else ("batch", "q_len", "kv_len")
    extents = _extents(base, mechanism)
    seen = set()
    for together in zip(*(forms(name, roles[0].name, axes) for name in blank), strict=False):
        said = {form.argument: _hiding_nothing(form, next(iter(base.inputs)), extents) for form in together}
        if tuple(said.values()) not in seen:
            seen.add(tuple(said.values()))
            call = (replace(a, constant=said.get(a.name, a.constant)) for a in base.call)
            yield replace(base, call=tuple(call))


def attends(out: Tensor, mechanism: Mechanism) -> bool:
    """Whether an output looks as if no key were hidden: finite, and not the same for every query."""
    axes = signature_of(mechanism)["out"].axes
    if not bool(torch.isfinite(out).all()) or "q_len" not in axes or out.dim() != len(axes):
        return bool(torch.isfinite(out).all())
    place = axes.index("q_len")
    return not torch.allclose(out, out.narrow(place, 0, 1).expand_as(out))


def _extents(base: Found, mechanism: Mechanism) -> dict[str, str]:
    """Where a call can read the sizes of axes: on the reference's tensors."""
    signature = signature_of(mechanism)
    return {
        axis: f"{name}.shape[{place}]"
        for name, roles in base.inputs.items()
        for role in roles
        for place, axis in enumerate(signature[role].axes)
    }


def _hiding_nothing(form: MaskForm, like: str, extents: dict[str, str]) -> str:
    if form.polarity == "lengths":
        return f"{like}.new_full(({extents['batch']},), {extents['kv_len']}, dtype=torch.long)"
    # One row of heads serves all of them.
    sizes = ", ".join("1" if axis == "heads" else extents.get(axis, axis) for axis in form.axes)
    made = {
        "true attends": f"new_ones({sizes}, dtype=torch.bool)",
        "true ignores": f"new_zeros({sizes}, dtype=torch.bool)",
        "additive": f"new_zeros({sizes})",
        "one attends": f"new_ones({sizes})",
    }
    return f"{like}.{made[form.polarity]}"
