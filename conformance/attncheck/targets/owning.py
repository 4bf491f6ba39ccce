"""Functions that are handed their weights, as modules that own them."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.sizes import BASE
from attncheck.targets.adapter import constructor_axes, parameter_shapes
from attncheck.targets.configuring import weights_read
from attncheck.targets.found import Found
from attncheck.targets.layers import Shape
from attncheck.targets.parameters import parameters_of
from attncheck.targets.trying import SIZE_SETS, case_for
from attnref import Mechanism

# How a function may want a weight of the reference: turned, without axes that are always 1, as a kernel of one
# pixel, or as one divided by it; or by heads, features and inputs or outputs, in the order of these letters.
_FORMS = (".T", ".flat", ".kernel", ".reciprocal")
BY_HEADS = (".hdi", ".hid", ".ihd")
OUT_OF_HEADS = (".hdo", ".hod", ".ohd")
BIAS_BY_HEADS = ".hd"
_HEADED = (*BY_HEADS, *OUT_OF_HEADS, BIAS_BY_HEADS)


class Held(dict[str, nn.Parameter]):
    """Weights that a function is handed together: entries of a dictionary, and fields of an object."""

    __getattr__ = dict.__getitem__


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
        entries = {name: Held(module.named_parameters()) for name, module in self.named_children()}
        return self._function(*args, **kwargs, **weights, **entries, **self._sizes)


def parameters_of_expression(expression: str) -> tuple[tuple[str, ...], str]:
    """The reference's parameters that an expression names, and the form in which they are wanted."""
    form = next((form for form in (*_FORMS, *_HEADED) if expression.endswith(form)), "")
    return tuple(expression.removesuffix(form).split("+")), form


def _formed(shapes: list[Shape], usual: Shape, form: str, heads: int) -> Shape:
    """The shape in which a function wants a weight; at usual sizes no axis is 1 by chance."""
    shape = shapes[0] if len(shapes) == 1 else (sum(each[0] for each in shapes), *shapes[0][1:])
    if any(each[1:] != shape[1:] for each in shapes):
        raise ValueError(f"weights for inputs of different widths are not one: {shapes}")
    if form in _HEADED:
        shared, *rest = shape[::-1] if form in OUT_OF_HEADS else shape
        sizes = {"h": heads, "d": shared // heads, **dict.fromkeys("io", rest[0] if rest else 0)}
        return tuple(sizes[letter] for letter in form[1:])
    if form == ".T":
        return (math.prod(shape[1:]), shape[0])
    if form == ".kernel":
        return (*shape, 1, 1)
    return (
        tuple(n for n, other in zip(shape, usual, strict=False) if other != 1) if form == ".flat" else shape
    )


def owning(function: Callable[..., Any], mechanism: str, **owned: str) -> type[nn.Module]:
    """A function that is handed its weights as a class of modules that own them, built from sizes.

    `owned` says for each such argument which parameter of the reference it is: "query.weight", turned
    as "query.weight.T", without its axes of size 1 as "query.weight.flat", a matrix as a kernel of one pixel
    as "squeeze.weight.kernel", or as one divided by it as "inverse_width.reciprocal"; by (h)eads, features
    per head (d) and (i)nputs as "query.weight.hid", by heads, features and (o)utputs as "output.weight.hdo";
    several, one behind the other, as "key.weight+value.weight"; or the size it is, as "heads".
    What is handed over in a dictionary or as an object's fields is named by both, as `**{"params.wq": "query.weight"}`.

    Raises: UsageError if the mechanism has no such parameter or size.
    """
    reference = BY_ID[mechanism]
    known = {**usual_shapes(reference), **dict.fromkeys(constructor_axes(reference))}
    for argument, expression in owned.items():
        if not set(parameters_of_expression(expression)[0]) <= set(known):
            raise UsageError(
                f"{argument}: {mechanism} has no {expression!r}; expected one of {', '.join(known)}"
            )

    settled = _settled(function, owned)
    usual, wants = usual_shapes(reference), [(e, *parameters_of_expression(e)) for e in owned.values()]

    def init(self: Owning, **sizes: Any) -> None:
        told = {name: size for name, size in sizes.items() if size is not None}
        shapes = parameter_shapes(reference, {**settled, **told})
        formed = {
            e: _formed([shapes[n] for n in names], usual[names[0]], form, int(told.get("heads", 1)))
            for e, names, form in wants
            if set(names) <= set(shapes)
        }
        Owning.__init__(self, function, owned, formed, told)

    def forward(self: Owning, *args: Any, **kwargs: Any) -> Any:
        return self.through(args, kwargs)

    name = getattr(function, "__name__", type(function).__name__)
    made: Any = type(
        name, (Owning,), {"__init__": init, "forward": forward, "__doc__": inspect.getdoc(function)}
    )
    assert reference.module is not None, "what has parameters has a module"
    told = inspect.signature(reference.module).parameters.values()
    biased = any(expression.endswith("bias") for expression in owned.values())
    wanted = {*known, *(["bias"] if biased else [])} - {*settled}
    made.__signature__ = inspect.Signature([p for p in told if p.name in wanted])
    taken = {argument.partition(".")[0] for argument in owned}
    kept = [p for p in parameters_of(function) if p.name not in taken]
    made.forward.__signature__ = inspect.Signature(kept)
    # Its source and comments are the function's.
    made.forward.__wrapped__ = function
    made.forward.__doc__, made.__module__ = made.__doc__, getattr(function, "__module__", __name__)
    return cast(type[nn.Module], made)


def _settled(function: Callable[..., Any], owned: Mapping[str, str]) -> dict[str, Scalar]:
    """Sizes and options that are the same for every module that owns a function's weights."""
    settled: dict[str, Scalar] = {}
    # A table has a column for each head, and what is not told the height of a window takes sequences.
    table = any(expression.startswith("table") for expression in owned.values())
    headed = table or any(expression.endswith(_HEADED) for expression in owned.values())
    if "heads" not in owned.values() and not headed:
        # What is not told how many heads there are has one.
        settled["heads"] = 1
    if table and "height" not in owned.values():
        settled["height"] = 1
    # A bias without which there is no call is always there.
    if _required(function).intersection(a for a, expression in owned.items() if expression.endswith("bias")):
        settled["bias"] = True
    return settled


def _required(function: Callable[..., Any]) -> set[str]:
    """Arguments without which there is no call, and what is read of dictionaries without a default."""
    parameters = parameters_of(function)
    entries = [(f"{p.name}.{e.name}", e) for p in parameters for e in weights_read(function, p)]
    every = [*((p.name, p) for p in parameters), *entries]
    return {name for name, parameter in every if parameter.default is parameter.empty}


def usual_shapes(mechanism: Mechanism, larger: str = "") -> dict[str, tuple[int, ...]]:
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
