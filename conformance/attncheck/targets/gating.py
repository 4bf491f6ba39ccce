"""Gates that come back alone, as papers define them: a caller scales the input by them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Shapes of a gate alone -> the index that lays it along the axes of what it scales.
_FORMS: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "cbam_channel": {
        ("batch", "channels", "1", "1"): "[...]",
        ("batch", "channels"): "[:, :, None, None]",
    },
    "cbam_spatial": {
        ("batch", "1", "height", "width"): "[...]",
        ("batch", "height", "width"): "[:, None]",
    },
}
_ALL = slice(None)
_INDICES: Mapping[str, Any] = {
    "[...]": ...,
    "[:, :, None, None]": (_ALL, _ALL, None, None),
    "[:, None]": (_ALL, None),
}


def form_of(mechanism: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> str:
    """How a result of this shape is a gate of the mechanism; empty if it is none."""
    known = {"1": 1, **sizes}
    forms = _FORMS.get(mechanism, {})
    return next((form for axes, form in forms.items() if tuple(known[a] for a in axes) == shape), "")


def scaled(x: Tensor, gate: Tensor, form: str) -> Tensor:
    """The input times a gate of one of these forms."""
    return x * gate[_INDICES[form]]
