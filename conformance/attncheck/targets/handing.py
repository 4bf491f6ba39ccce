"""Which of the reference's weights the arguments of a function are: told by names, tried by calls."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from attncheck.model.case import Scalar
from attncheck.model.errors import NoAdapterError
from attncheck.targets.adapter import constructor_axes, signature_of
from attncheck.targets.calling import callings
from attncheck.targets.configuring import weights_read
from attncheck.targets.found import Found
from attncheck.targets.layers import Shape
from attncheck.targets.names import PARAMETERS, axes_for, is_dropout, is_mask, layer_role, roles_for
from attncheck.targets.owning import BIAS_BY_HEADS, BY_HEADS, OUT_OF_HEADS, owning, usual_shapes
from attncheck.targets.parameters import parameters_of
from attncheck.targets.plans import called_as
from attncheck.targets.trying import attempt, first_case, subject_of
from attnref import Mechanism

# Numbers that say how wide a kernel is; by these names they are nothing else.
_WIDTHS = ("bandwidth", "bw", "h", "sigma", "lengthscale", "length_scale")
# Names of weights that speak of an input too, such as w_query.
_WEIGHT = re.compile(r"^[wb]_|^(?:weight|bias)_|_(?:weight|bias|[wb])$|^[wb](?:query|key|value)")
_BIAS = re.compile(r"bias|^b_|^b[a-z]{0,3}\d*$|_b\d*$")
# What the last letter of a weight's name tells, if nothing else does.
_LETTERS = {"q": "query", "k": "key", "v": "value", "o": "output"}
# What is called so is these layers, one behind the other.
_TOGETHER = {"qkv": ("query", "key", "value"), "in_proj": ("query", "key", "value"), "kv": ("key", "value")}
# Sizes that are one where such a weight is cut into equal parts.
_EQUAL: tuple[Mapping[str, str], ...] = (
    {"v_dim": "head_dim"},
    {"v_dim": "head_dim", "key_size": "query_size", "value_size": "query_size"},
)
# Forms that are thought of, and of these the ones that are tried.
_EVERY = 20_000
_MOST = 81
# Any size will do, where no weight depends on it.
_ANY = 6
# Of the ways in which a call returns, how many are studied: those that differ in square matrices differ in nothing.
_STUDIED = 2


@dataclass(frozen=True)
class Way:
    """What a function's arguments are of the reference's weights, and the sizes from which these are made."""

    owned: Mapping[str, str]
    init: Mapping[str, str]


def ways_to_own(function: Any, mechanism: Mechanism) -> Iterator[Way]:
    """The ways to own a function's weights in which some call returns."""
    if not inspect.isfunction(function):
        return
    likeliest = _told_apart(function, mechanism)
    # A number by its name may be a weight after all, such as `kernel`.
    weights = [p.name for p in parameters_of(function) if p.name in {*likeliest[0], *likeliest[1]}]
    for told in (likeliest, (weights, {})) if likeliest[1] else (likeliest,):
        ways = list(_ways_with(function, mechanism, *told))
        if ways:
            yield from ways
            return


def _ways_with(
    function: Any, mechanism: Mechanism, weights: list[str], sizes: dict[str, str]
) -> Iterator[Way]:
    parameters = usual_shapes(mechanism)
    # What is added to a residual may be scaled by beta, as by gamma elsewhere.
    factors = {"beta"} if "gamma" in parameters and "gamma" not in weights else set()
    biases = [weight for weight in weights if _is_bias(weight) and weight not in factors]
    named = _named([w for w in weights if w not in biases], [n for n in parameters if not n.endswith("bias")])
    named |= _named(biases, [n for n in parameters if n.endswith("bias")])
    if not weights or len(named) < len(weights):
        return
    possible = [owned | sizes for owned in _expressions(named, parameters, mechanism)]
    # A mistake in sizes shows where these differ, so they follow from each other only where they must.
    apart = _apart(mechanism, "+".join(named.values()).split("+")) | {*sizes.values()}
    equal = _EQUAL if "v_dim" in apart else ()
    ties: list[tuple[set[str] | None, Mapping[str, str]]] = [
        (apart, {}),
        (None, {}),
        *((None, e) for e in equal),
    ]
    for free, same in ties:
        ways = list(_returning(function, mechanism, possible, free, same))
        if ways:
            yield from ways
            return


def _expressions(
    named: Mapping[str, str], parameters: Mapping[str, Shape], mechanism: Mechanism
) -> Iterator[dict[str, str]]:
    """The parameters that arguments are, in every form, those first in which few forms are mixed."""
    axes = subject_of(Found(mechanism.id, "", {}, ()), mechanism).axes
    shapes = {name: parameters[name.partition("+")[0]] for name in named.values()}
    forms = [_forms_of(name, shapes[name], axes) for name in named.values()]
    matrices = [len(shapes[name]) > 1 for name in named.values()]

    def variety(chosen: tuple[str, ...]) -> int:
        return len({*itertools.compress(chosen, matrices)} - {*OUT_OF_HEADS})

    every = sorted(itertools.islice(itertools.product(*forms), _EVERY), key=variety)
    for chosen in every[:_MOST]:
        yield {a: name + form for (a, name), form in zip(named.items(), chosen, strict=True)}


def _told_apart(function: Any, mechanism: Mechanism) -> tuple[list[str], dict[str, str]]:
    """Arguments that are weights by their names, and those that are sizes."""
    axes = constructor_axes(mechanism)
    masked = any(tensor.name in ("mask", "valid_lens", "bias") for tensor in signature_of(mechanism).inputs)
    parameters = parameters_of(function)
    # Where no name tells an input, the first one is.
    told = any(roles_for(p.name) and not _WEIGHT.search(p.name.lower()) for p in parameters)
    weights, sizes = [], {}
    for parameter in parameters if told else parameters[1:]:
        name, required = parameter.name, parameter.default is parameter.empty
        entries = [entry.name for entry in weights_read(function, parameter)]
        if entries and (name.lower() in PARAMETERS or not any(map(axes_for, entries))):
            weights += [f"{name}.{entry}" for entry in entries]
            continue
        if (roles_for(name) and not _WEIGHT.search(name.lower())) or is_dropout(name):
            continue
        if masked and is_mask(name):
            continue
        size = next((axis for axis in axes_for(name) if axis in axes), None)
        if size is not None and (required or isinstance(parameter.default, int)):
            sizes[name] = size
        elif required or (parameter.default is None and (_WEIGHT.search(name.lower()) or _is_bias(name))):
            weights.append(name)
    return weights, sizes


def _is_bias(argument: str) -> bool:
    return _BIAS.search(argument.lower().rpartition(".")[2]) is not None


def _named(arguments: list[str], parameters: list[str]) -> dict[str, str]:
    """Which parameter each argument is: by the layer that its name tells, if no two tell one, and the others in order."""
    layers = {name.partition(".")[0]: name for name in parameters}
    told = {a: _joined(a, layers) or layers.get(_layer(a, layers)) for a in arguments}
    named = {a: name for a, name in told.items() if name}
    if len({*named.values()}) < len(named):
        # What bears the reference's own name is that, whatever the others are.
        named = {a: a for a in arguments if a in parameters}
    rest = [n for n in parameters if n not in "+".join(named.values()).split("+")]
    return {a: named.get(a) or rest.pop(0) for a in arguments if a in named or rest}


def _joined(argument: str, layers: Mapping[str, str]) -> str | None:
    """Several parameters in one, by a name such as `w_kv`."""
    together = next((roles for word, roles in _TOGETHER.items() if word in argument.lower()), ())
    return "+".join(layers[role] for role in together) if {*together} <= {*layers} else None


def _layer(argument: str, layers: Mapping[str, str]) -> str:
    """The layer that an argument's name tells: the reference's own name for it, a usual one, or its last letter."""
    own = re.sub(r"_?(weight|bias)$", "", argument.lower().rpartition(".")[2])
    return own if own in layers else layer_role(argument) or _LETTERS.get(own[-1:], "")


def _forms_of(name: str, shape: Shape, axes: tuple[str, ...]) -> list[str]:
    """The forms in which a function may want a parameter."""
    flat = [".flat"] if 1 in shape else []
    if len(shape) > 2:
        # What wants a kernel refuses a matrix; what wants a matrix may make something else of a kernel.
        return [*flat, "", ".T"]
    matrix = [".T", *([".kernel"] if "height" in axes else [])] if len(shape) == 2 else []
    return ["", *matrix, *flat, *(_by_heads(name, shape) if "heads" in axes else ())]


def _by_heads(name: str, shape: Shape) -> tuple[str, ...]:
    if name.startswith("output"):
        return OUT_OF_HEADS if len(shape) == 2 else ()
    return BY_HEADS if len(shape) == 2 else (BIAS_BY_HEADS,)


def _apart(mechanism: Mechanism, names: list[str]) -> set[str]:
    """The sizes on which the shapes of these parameters depend."""
    first = usual_shapes(mechanism)

    def matters(axis: str) -> bool:
        try:
            return any(usual_shapes(mechanism, axis).get(name) != first[name] for name in names)
        except ValueError:
            # What the mechanism refuses is tied to others, and says something of their shapes.
            return True

    return {axis for axis in constructor_axes(mechanism) if matters(axis)}


def _returning(
    function: Any,
    mechanism: Mechanism,
    possible: list[dict[str, str]],
    apart: set[str] | None,
    equal: Mapping[str, str],
) -> Iterator[Way]:
    """Of these ways those in which some call returns, where these sizes are apart, or each follows that can.

    Some sizes may have to equal others.
    """
    ranks = next((option.values for option in mechanism.contract.options if option.name == "rank"), ())
    ranked: list[dict[str, Scalar]] = [{}, *({"rank": rank} for rank in ranks)]
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
            init |= {axis: other for axis, other in equal.items() if axis in init}
            chosen = tuple(a for a in mechanism.contract.defaults if a in init.values())
            base = replace(base, arguments=init, free=chosen)
            cases = [first_case(base, mechanism, options=options) for options in ranked]
            if any(case is not None and attempt(base, made, case, load=False).ran for case in cases):
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
