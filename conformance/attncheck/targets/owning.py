"""Functions that are handed their weights, as modules that own them."""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.sizes import BASE
from attncheck.targets.adapter import constructor_axes, parameter_shapes
from attncheck.targets.calling import callings, parameters_of
from attncheck.targets.configuring import entries_read
from attncheck.targets.found import Found
from attncheck.targets.frameworks.crossing import crossed
from attncheck.targets.names import PARAMETERS, axes_for, is_dropout, is_mask, layer_role, roles_for
from attncheck.targets.plans import called_as
from attncheck.targets.trying import SIZE_SETS, attempt, case_for, first_case, subject_of
from attnref import Mechanism

# How a function may want a weight of the reference: turned, without axes that are always 1, or as one divided by it.
_FORMS = (".T", ".flat", ".reciprocal")
# Numbers that say how wide a kernel is; by these names they are nothing else.
_WIDTHS = ("bandwidth", "bw", "h", "sigma", "lengthscale", "length_scale")
# Names of weights that speak of an input too, such as w_query.
_WEIGHT = re.compile(r"^[wb]_|^(?:weight|bias)_|_(?:weight|bias)$|^[wb](?:query|key|value)")
_BIAS = re.compile(r"bias|^b(_?[a-z]{0,3})?\d*$|_b\d*$")
# What the last letter of a weight's name tells, if nothing else does.
_LETTERS = {"q": "query", "k": "key", "v": "value", "o": "output"}
_MOST = 81
# Any size will do, where no weight depends on it.
_ANY = 6
# Of the ways in which a call returns, how many are studied: those that differ in square matrices differ in nothing.
_STUDIED = 2


class Owning(nn.Module):
    """Parameters under the names of a function's arguments, and the function that is handed them."""

    def __init__(self, function: Callable[..., Any], owned: Mapping[str, str], shapes: Mapping[str, Any],
                 sizes: Mapping[str, Any]) -> None:  # fmt: skip
        super().__init__()
        self._function = function
        self._sizes = {a: sizes[e] for a, e in owned.items() if e in sizes}
        self._inverse = {a for a, e in owned.items() if e.endswith(".reciprocal")}
        for argument, expression in owned.items():
            if expression in shapes:
                home, _, own = argument.rpartition(".")
                if home and home not in self._modules:
                    self.add_module(home, nn.Module())
                parameter = nn.Parameter(torch.randn(shapes[expression]) / 8)
                self.get_submodule(home).register_parameter(own, parameter)

    def through(self, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Call the function with its weights."""
        own = self.named_parameters(recurse=False)
        weights = {n: 1 / parameter if n in self._inverse else parameter for n, parameter in own}
        entries = {name: dict(module.named_parameters()) for name, module in self.named_children()}
        return self._function(*args, **kwargs, **weights, **entries, **self._sizes)


def parameter_of(expression: str) -> tuple[str, str]:
    """The reference's parameter that an expression names, and the form in which it is wanted."""
    form = next((form for form in _FORMS if expression.endswith(form)), "")
    return expression.removesuffix(form), form


def _formed(shape: tuple[int, ...], usual: tuple[int, ...], form: str) -> tuple[int, ...]:
    """The shape in which a function wants a weight; at usual sizes no axis is 1 by chance."""
    if form == ".T":
        return (math.prod(shape[1:]), shape[0])
    return tuple(n for n, other in zip(shape, usual, strict=True) if other != 1) if form == ".flat" else shape


def owning(function: Callable[..., Any], mechanism: str, **owned: str) -> type[nn.Module]:
    """A function that is handed its weights as a class of modules that own them, built from sizes.

    `owned` says for each such argument which parameter of the reference it is: "query.weight", turned
    as "query.weight.T", without its axes of size 1 as "query.weight.flat", or as one divided by it as
    "inverse_width.reciprocal"; or the size it is, as "heads".
    What is handed over in a dictionary is named by both, as `**{"params.wq": "query.weight"}`.

    Raises: UsageError if the mechanism has no such parameter or size.
    """
    reference = BY_ID[mechanism]
    known = {**_shapes(reference), **dict.fromkeys(constructor_axes(reference))}
    for argument, expression in owned.items():
        if parameter_of(expression)[0] not in known:
            raise UsageError(
                f"{argument}: {mechanism} has no {expression!r}; expected one of {', '.join(known)}"
            )

    # What is not told how many heads there are has one.
    unsaid = {"heads": 1} if "heads" not in owned.values() else {}
    usual, wants = _shapes(reference), [(e, *parameter_of(e)) for e in owned.values()]

    def init(self: Owning, **sizes: Any) -> None:
        told = {name: size for name, size in sizes.items() if size is not None}
        shapes = parameter_shapes(reference, {**unsaid, **told})
        formed = {e: _formed(shapes[n], usual[n], form) for e, n, form in wants if n in shapes}
        Owning.__init__(self, function, owned, formed, told)

    def forward(self: Owning, *args: Any, **kwargs: Any) -> Any:
        return self.through(args, kwargs)

    name = getattr(function, "__name__", type(function).__name__)
    made: Any = type(
        name, (Owning,), {"__init__": init, "forward": forward, "__doc__": inspect.getdoc(function)}
    )
    assert reference.module is not None, "what has parameters has a module"
    told = inspect.signature(reference.module).parameters.values()
    wanted = {*known, *(["bias"] if any(e.endswith("bias") for e in owned.values()) else [])} - {*unsaid}
    made.__signature__ = inspect.Signature([p for p in told if p.name in wanted])
    taken = {argument.partition(".")[0] for argument in owned}
    kept = [p for p in parameters_of(function) if p.name not in taken]
    made.forward.__signature__ = inspect.Signature(kept)
    # Its source and comments are the function's.
    made.forward.__wrapped__ = function
    made.forward.__doc__, made.__module__ = made.__doc__, getattr(function, "__module__", __name__)
    return cast(type[nn.Module], made)


def reached(target: Any, found: Found) -> Any:
    """The target as the module or function of torch that an adapter calls."""
    if found.owned:
        return owning(target, found.mechanism, **found.owned)
    return crossed(target, found.framework, found.mapped)


@dataclass(frozen=True)
class Way:
    """What a function's arguments are of the reference's weights, and the sizes from which these are made."""

    owned: Mapping[str, str]
    init: Mapping[str, str]


def ways_to_own(function: Any, mechanism: Mechanism) -> Iterator[Way]:
    """The ways to own a function's weights in which some call returns."""
    weights, sizes = _told_apart(function, mechanism) if inspect.isfunction(function) else ([], {})
    parameters = _shapes(mechanism)
    biases = [weight for weight in weights if _is_bias(weight)]
    named = _named([w for w in weights if w not in biases], [n for n in parameters if not n.endswith("bias")])
    named |= _named(biases, [n for n in parameters if n.endswith("bias")])
    if not weights or len(named) < len(weights):
        return
    forms = [_forms_of(parameters[name]) for name in named.values()]
    possible = [
        {a: name + form for (a, name), form in zip(named.items(), chosen, strict=True)} | sizes
        for chosen in itertools.islice(itertools.product(*forms), _MOST)
    ]
    # A mistake in sizes shows where these differ, so they follow from each other only where they must.
    apart = _apart(mechanism, [*named.values()]) | {*sizes.values()}
    free = list(_returning(function, mechanism, possible, apart))
    yield from free or _returning(function, mechanism, possible, None)


def _told_apart(function: Any, mechanism: Mechanism) -> tuple[list[str], dict[str, str]]:
    """Arguments that are weights by their names, and those that are sizes."""
    axes = constructor_axes(mechanism)
    weights, sizes = [], {}
    for parameter in parameters_of(function):
        name, required = parameter.name, parameter.default is parameter.empty
        if name.lower() in PARAMETERS:
            weights += [f"{name}.{entry.name}" for entry in entries_read(function, parameter)]
            continue
        if (roles_for(name) and not _WEIGHT.search(name.lower())) or is_mask(name) or is_dropout(name):
            continue
        size = next((axis for axis in axes_for(name) if axis in axes), None)
        if size is not None and (required or isinstance(parameter.default, int)):
            sizes[name] = size
        elif required or (parameter.default is None and _is_bias(name)):
            weights.append(name)
    return weights, sizes


def _is_bias(argument: str) -> bool:
    return _BIAS.search(argument.lower().rpartition(".")[2]) is not None


def _named(arguments: list[str], parameters: list[str]) -> dict[str, str]:
    """Which parameter each argument is: by the layer that its name tells, or in order."""
    layers = {name.partition(".")[0]: name for name in parameters}
    told = {a: layers.get(_layer(a, layers)) for a in arguments}
    if all(told.values()) and len(set(told.values())) == len(told):
        return {a: str(name) for a, name in told.items()}
    return dict(zip(arguments, parameters, strict=False))


def _layer(argument: str, layers: Mapping[str, str]) -> str:
    """The layer that an argument's name tells: the reference's own name for it, a usual one, or its last letter."""
    own = re.sub(r"_?(weight|bias)$", "", argument.lower().rpartition(".")[2])
    return own if own in layers else layer_role(argument) or _LETTERS.get(own[-1:], "")


def _forms_of(shape: tuple[int, ...]) -> list[str]:
    flat = [".flat"] if 1 in shape else []
    if len(shape) > 2:
        # What wants a kernel refuses a matrix; what wants a matrix may make something else of a kernel.
        return [*flat, "", ".T"]
    return ["", *([".T"] if len(shape) > 1 else []), *flat]


def _shapes(mechanism: Mechanism, larger: str = "") -> dict[str, tuple[int, ...]]:
    """The reference's parameters at sizes to begin with, one of them tripled; none if it has no module."""
    found = Found(mechanism.id, "", {}, ())
    # Wide enough for what is one in so many channels to be more than 1.
    case = case_for(found, mechanism, SIZE_SETS[1], options={"bias": True}) if mechanism.module else None
    if case is None:
        return {}
    sizes = {**BASE, **case.names}
    if larger in case.sizes:
        # What is odd stays odd.
        sizes[larger] = 3 * case.sizes[larger]
    return parameter_shapes(mechanism, sizes)


def _apart(mechanism: Mechanism, names: list[str]) -> set[str]:
    """The sizes on which the shapes of these parameters depend."""
    first = _shapes(mechanism)

    def matters(axis: str) -> bool:
        try:
            return any(_shapes(mechanism, axis).get(name) != first[name] for name in names)
        except ValueError:
            # What the mechanism refuses is tied to others, and says something of their shapes.
            return True

    return {axis for axis in constructor_axes(mechanism) if matters(axis)}


def _returning(
    function: Any, mechanism: Mechanism, possible: list[dict[str, str]], apart: set[str] | None
) -> Iterator[Way]:
    """Of these ways those in which some call returns, where these sizes are apart, or each follows that can."""
    for owned in possible:
        made = owning(function, mechanism.id, **owned)
        sizes = {p.name: p.default for p in inspect.signature(made).parameters.values() if p.name != "bias"}
        arguments = (
            {a: "None" if default is None else a for a, default in sizes.items()}
            if apart is None
            else {a: a if a in apart else str(_ANY) for a in sizes}
        )
        for calling in callings(made.forward, mechanism):
            base = called_as(Found(mechanism.id, made.__qualname__, {}, ()), calling)
            ties = subject_of(base, mechanism).ties
            init = {a: ties.get(e, e) for a, e in arguments.items()}
            chosen = tuple(a for a in mechanism.contract.defaults if a in init.values())
            base = replace(base, arguments=init, free=chosen)
            case = first_case(base, mechanism)
            if case is not None and attempt(base, made, case, load=False).ran:
                yield Way(owned, init)
                break


def found_owning(function: Any, mechanism: Mechanism, discover: Callable[..., Found]) -> Found | None:
    """The adapter of a function that is handed its weights; None if it is not."""
    ways = itertools.islice(ways_to_own(function, mechanism), _STUDIED)
    return _studied(function, mechanism, ways, discover)


def with_width(found: Found, function: Any, mechanism: Mechanism, discover: Callable[..., Found]) -> Found:
    """The adapter under which a kernel has every width, where a function that takes one was right at its default."""
    parameters = parameters_of(function) if inspect.isfunction(function) else []
    numbers = [
        p for p in parameters if isinstance(p.default, (int, float)) and not isinstance(p.default, bool)
    ]
    argument = next((p.name for p in numbers if p.default == 1 or p.name.lower() in _WIDTHS), None)
    if argument is None or "inverse_width" not in found.absent:
        return found
    ways = (Way({argument: f"inverse_width{form}"}, {}) for form in (".reciprocal", ""))
    told = _studied(function, mechanism, ways, discover)
    # Where it is right in neither meaning, its name may say which one it has.
    meant = told is not None and (told.certainty == "verified" or argument.lower() in _WIDTHS)
    return told if told is not None and meant else found


def _studied(
    function: Any, mechanism: Mechanism, ways: Iterable[Way], discover: Callable[..., Found]
) -> Found | None:
    """Of these ways to own weights the verified one, or the first that has an adapter."""
    likeliest: Found | None = None
    for way in ways:
        try:
            found = discover(owning(function, mechanism.id, **way.owned), init=way.init)
        except NoAdapterError:
            continue
        handed = "handed its weights: " + ", ".join(f"{a} is {e}" for a, e in way.owned.items())
        found = replace(found, owned=way.owned, notes=(handed, *found.notes[1:]))
        if found.certainty == "verified":
            return found
        likeliest = likeliest or found
    return likeliest
