"""What makes the output and comes back alone: gates by which a caller scales the input, weights of values he has himself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_ALL = slice(None)


@dataclass(frozen=True)
class Form:
    """How such a tensor is laid along the axes of what it scales, or of the weights it is, as an index."""

    axes: tuple[str, ...]
    text: str
    index: Any


_WEIGHTS = (
    Form(("batch", "q_len", "kv_len"), "[...]", ...),
    Form(("batch", "kv_len"), "[:, None]", (_ALL, None)),
)
_FORMS: Mapping[str, tuple[Form, ...]] = {
    "cbam_channel": (
        Form(("batch", "channels", "1", "1"), "[...]", ...),
        Form(("batch", "channels"), "[:, :, None, None]", (_ALL, _ALL, None, None)),
    ),
    "cbam_spatial": (
        Form(("batch", "1", "height", "width"), "[...]", ...),
        Form(("batch", "height", "width"), "[:, None]", (_ALL, None)),
    ),
    "dot_product": _WEIGHTS,
    "additive": _WEIGHTS,
}
# The input that a target need not be handed, as it says how much of it to take.
WEIGHED = "values"


def form_of(mechanism: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> str:
    """The form in which a result of this shape comes alone; empty if it does not."""
    known = {"1": 1, **sizes}
    forms = _FORMS.get(mechanism, ())
    return next((form.text for form in forms if tuple(known[a] for a in form.axes) == shape), "")


def weighs(mechanism: str) -> bool:
    """Whether what comes back alone are weights of the values, which then are not handed over."""
    return _FORMS.get(mechanism) is _WEIGHTS


def completed(mechanism: str, inputs: Mapping[str, Tensor], alone: Tensor, form: str) -> Tensor:
    """The output, of a gate or of weights in one of these forms."""
    laid: Tensor = alone[next(each.index for each in _FORMS[mechanism] if each.text == form)]
    return laid @ inputs[WEIGHED] if weighs(mechanism) else next(iter(inputs.values())) * laid


def completed_text(mechanism: str, first: str, alone: str, form: str) -> str:
    """The same as code; `first` is the name of the first input."""
    laid = alone + form.removeprefix("[...]")
    return f"{laid} @ {WEIGHED}" if weighs(mechanism) else f"{first} * {laid}"
