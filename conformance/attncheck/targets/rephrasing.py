"""A learned number that stands for another: a bandwidth for its inverse, a logarithm for what it is of."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Map:
    """What becomes of a tensor, and the same as source that has {} for it."""

    of: Callable[[Tensor], Tensor]
    source: str


# What a number may be of an inverse width w.
_INNER: Mapping[str, _Map] = {
    "w": _Map(torch.abs, "{}.abs()"),
    "1 / w": _Map(lambda w: 1 / w.abs(), "(1 / {}.abs())"),
    "1 / w²": _Map(lambda w: 1 / w.square(), "(1 / {}.square())"),
    "w²": _Map(torch.square, "{}.square()"),
    "w² / 2": _Map(lambda w: w.square() / 2, "({}.square() / 2)"),
}
# In what form it may be learned, so that it stays positive.
_OUTER: Mapping[str, _Map] = {
    "log": _Map(torch.log, "{}.log()"),
    # The inverse of softplus, which large numbers do not overflow.
    "softplus⁻¹": _Map(lambda x: x + (-torch.expm1(-x)).log(), "{0} + (-(-{0}).expm1()).log()"),
}
# What the words in a number's name say it is.
_MEANINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"var|variance|sigma_?(2|sq|squared)", ("1 / w²",)),
    (r"gamma|beta|precision", ("w² / 2", "w²")),
    (r"bandwidth|bw|sigma|std|length_?scale|(?<!inverse_)(?<!inv_)width|h|ell", ("1 / w",)),
)
_LOG = re.compile(r"(^|_)(log|ln)(_|$)|^log")
_FREE = re.compile(r"(^|_)(raw|rho|unconstrained|pre|free)(_|$)")


def rephrasings(name: str) -> Iterator[str]:
    """Patterns of what a learned number of this name may be, where it is not the inverse width itself."""
    own = name.rpartition(".")[2].lower().strip("_")
    inner = next(
        (meant for words, meant in _MEANINGS if re.search(rf"(^|_|log|raw)({words})(_|$)", own)), ("w",)
    )
    if _LOG.search(own):
        yield from (f"log of {each}" for each in inner)
    elif _FREE.search(own):
        yield from (f"{outer} of {each}" for each in inner for outer in _OUTER)
    elif inner != ("w",):
        yield from inner


def is_rephrased(pattern: str) -> bool:
    """Whether a placement's pattern is one of these."""
    return pattern.rpartition(" of ")[2] in _INNER


def rephrased(pattern: str, tensor: Tensor) -> Tensor:
    """What stands for a tensor under a pattern."""
    for each in _maps(pattern):
        tensor = each.of(tensor)
    return tensor


def as_source(pattern: str, text: str) -> str:
    """The same over an expression."""
    for each in _maps(pattern):
        text = each.source.format(text)
    return text


def gradient_of(pattern: str, tensor: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a tensor, from that of what stands for it."""
    with torch.enable_grad():
        own = tensor.detach().clone().requires_grad_()
        (home,) = torch.autograd.grad(rephrased(pattern, own), own, gradient.reshape(own.shape))
    return home


def _maps(pattern: str) -> list[_Map]:
    outer, _, inner = pattern.rpartition(" of ")
    return [_INNER[inner], *([_OUTER[outer]] if outer else [])]
