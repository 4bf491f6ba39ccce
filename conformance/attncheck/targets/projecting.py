"""Attention that takes queries, keys and values, as a module that projects a sequence or a map to these."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from attncheck.model.errors import NoAdapterError
from attncheck.targets.found import Found
from attncheck.targets.frameworks.crossing import crossed
from attncheck.targets.names import roles_for
from attncheck.targets.owning import owning
from attncheck.targets.parameters import parameters_of
from attncheck.targets.tapping import function_of
from attnref import Mechanism


class OfTokens(nn.Module):
    """Queries, keys, values and output of linear layers around an instance that attends."""

    # Names for the width and the number of heads, of which a core takes at most one each.
    SIZES: ClassVar = (("model_dim", "embed_dim"), ("heads", "num_heads", "n_heads"))
    NOTE = "called with projections of x as queries, keys and values, (batch, heads, tokens, head_dim)"

    def __init__(self, core: Callable[..., Any], width: int, heads: int) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        """Project, split into heads, attend, join, project."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in
                   (self.query, self.key, self.value))  # fmt: skip
        return _behind(self.core(q, k, v), lambda out: self.output(out.transpose(1, 2).flatten(2)))


class OfPixels(nn.Module):
    """Queries, keys and values of pointwise convolutions; what is read is added to the map, times gamma."""

    SIZES: ClassVar = (("channels", "in_channels"), ("reduced", "inter_channels"))
    NOTE = "called with projections of x as queries, keys and values, (batch, channels, height, width)"

    def __init__(self, core: Callable[..., Any], channels: int, reduced: int) -> None:
        super().__init__()
        self.core = core
        self.query, self.key, self.value = (nn.Conv2d(channels, n, 1) for n in (reduced, reduced, channels))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        """Project, attend, add to x."""
        result = self.core(self.query(x), self.key(x), self.value(x))
        return _behind(result, lambda out: self.gamma * out + x)


def _behind(result: Any, layer: Callable[[Tensor], Tensor]) -> Any:
    """The result with a layer behind its output, and what came with the output."""
    out, *others = result if isinstance(result, tuple) else (result,)
    return (layer(out), *others) if others else layer(out)


# Elsewhere attention without projections is a mechanism of its own.
_AROUND: Mapping[str, type[OfTokens | OfPixels]] = {
    "relative_position": OfTokens,
    "criss_cross": OfPixels,
    "spatial_self": OfPixels,
}


def projecting(core: Any, mechanism: str) -> type[nn.Module]:
    """A class of modules that attend through `core`, a class or a function of queries, keys and values.

    Its constructor takes what the core's takes, and the sizes of the projections beside.
    Raises ValueError for a mechanism whose attention is not judged between projections.
    """
    if mechanism not in _AROUND:
        raise ValueError(f"projecting: mechanism must be one of {', '.join(_AROUND)}, got {mechanism!r}")
    around = _AROUND[mechanism]
    parameters = parameters_of(core) if isinstance(core, type) else []
    taken = {p.name for p in parameters}
    sizes = [next(name for name in names if name not in taken) for names in around.SIZES]

    def init(self: Any, **given: Any) -> None:
        own = [given.pop(size) for size in sizes]
        attending = core(**given) if isinstance(core, type) else core
        around.__init__(self, attending, *own)

    made: Any = type(core.__name__, (around,), {"__init__": init, "__doc__": inspect.getdoc(core)})
    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    made.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in sizes] + kept
    )
    made.__module__ = core.__module__
    return cast(type[nn.Module], made)


def found_projecting(target: Any, mechanism: Mechanism, discover: Callable[[Any], Found]) -> Found | None:
    """The adapter of a target that is the middle of a mechanism; None if it is not."""
    if mechanism.id not in _AROUND:
        return None
    likeliest: Found | None = None
    for core, owned in _cores(target, mechanism.id):
        try:
            found = discover(projecting(core, mechanism.id))
        except NoAdapterError:
            continue
        found = replace(found, core=True, owned=owned, notes=(_AROUND[mechanism.id].NOTE, *found.notes))
        if found.certainty == "verified":
            return found
        likeliest = likeliest or found
    return likeliest


def _cores(target: Any, mechanism: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """The target as it is called with queries, keys and values alone, and what it is handed of the weights."""
    required = [
        p.name for p in parameters_of(function_of(target)) if p.default is p.empty and p.name != "self"
    ]
    if [roles_for(name)[:1] for name in required[:3]] != [("q",), ("k",), ("v",)]:
        return
    rest = required[3:]
    if not rest:
        yield target, {}
    elif len(rest) == 1 and inspect.isfunction(target) and mechanism == "relative_position":
        for form in ("table", "table.T"):
            yield owning(target, mechanism, **{rest[0]: form}), {rest[0]: form}


def reached(target: Any, found: Found) -> Any:
    """The target as the module or function of torch that an adapter calls."""
    if found.owned:
        target = owning(target, found.mechanism, **found.owned)
    return (
        projecting(target, found.mechanism) if found.core else crossed(target, found.framework, found.mapped)
    )
