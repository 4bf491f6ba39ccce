"""Attention that takes queries, keys and values by heads, as a module that projects a sequence to these."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from attncheck.model.errors import NoAdapterError
from attncheck.targets.calling import parameters_of
from attncheck.targets.found import Found
from attncheck.targets.frameworks.crossing import crossed
from attncheck.targets.names import roles_for
from attncheck.targets.owning import owning
from attncheck.targets.tapping import function_of
from attnref import Mechanism

_NOTE = "called with projections of x as queries, keys and values, (batch, heads, tokens, head_dim)"


# Names for the width and the number of heads, of which a core takes at most one each.
_OWN = (("model_dim", "embed_dim"), ("heads", "num_heads", "n_heads"))


class Projecting(nn.Module):
    """Queries, keys, values and output of linear layers around an instance that attends."""

    def __init__(self, core: Callable[..., Any], width: int, heads: int) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        """Project, split into heads, attend, join, project."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in
                   (self.query, self.key, self.value))  # fmt: skip
        result = self.core(q, k, v)
        out, *others = result if isinstance(result, tuple) else (result,)
        projected = self.output(out.transpose(1, 2).flatten(2))
        return (projected, *others) if others else projected


def projecting(core: Any) -> type[nn.Module]:
    """A class of modules that attend through `core`, a class or a function of queries, keys and values by heads.

    Its constructor takes what the core's takes, and the width and the number of heads beside.
    """
    parameters = parameters_of(core) if isinstance(core, type) else []
    taken = {p.name for p in parameters}
    width, heads = (next(name for name in names if name not in taken) for names in _OWN)

    def init(self: Projecting, **given: Any) -> None:
        own = given.pop(width), given.pop(heads)
        attending = core(**given) if isinstance(core, type) else core
        Projecting.__init__(self, attending, *own)

    made: Any = type(core.__name__, (Projecting,), {"__init__": init, "__doc__": inspect.getdoc(core)})
    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    made.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in (width, heads)] + kept
    )
    made.__module__ = core.__module__
    return cast(type[nn.Module], made)


def found_projecting(target: Any, mechanism: Mechanism, discover: Callable[[Any], Found]) -> Found | None:
    """The adapter of a target that is the middle of a mechanism; None if it is not."""
    if mechanism.id != "relative_position":
        # Elsewhere attention without projections is a mechanism of its own.
        return None
    likeliest: Found | None = None
    for core, owned in _cores(target):
        try:
            found = discover(projecting(core))
        except NoAdapterError:
            continue
        found = replace(found, core=True, owned=owned, notes=(_NOTE, *found.notes))
        if found.certainty == "verified":
            return found
        likeliest = likeliest or found
    return likeliest


def _cores(target: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """The target as it is called with queries, keys and values alone, and what it is handed of the weights."""
    required = [
        p.name for p in parameters_of(function_of(target)) if p.default is p.empty and p.name != "self"
    ]
    if [roles_for(name)[:1] for name in required[:3]] != [("q",), ("k",), ("v",)]:
        return
    rest = required[3:]
    if not rest:
        yield target, {}
    elif len(rest) == 1 and inspect.isfunction(target):
        for form in ("table", "table.T"):
            yield owning(target, "relative_position", **{rest[0]: form}), {rest[0]: form}


def reached(target: Any, found: Found) -> Any:
    """The target as the module or function of torch that an adapter calls."""
    if found.owned:
        target = owning(target, found.mechanism, **found.owned)
    return projecting(target) if found.core else crossed(target, found.framework, found.mapped)
