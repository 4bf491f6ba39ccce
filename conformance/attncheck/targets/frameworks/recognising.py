"""Which framework a target computes with, by its bases and by the modules that its code speaks of."""

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

# Arrays of these are handed over; what speaks of torch takes tensors as they are.
_ROOTS = {"jax": "jax", "jaxlib": "jax", "numpy": "numpy", "scipy": "numpy", "torch": "torch"}
_BASES = {"keras": "keras", "equinox": "equinox", "flax": "flax", "torch": "torch"}


def framework_of(target: Any) -> str:
    """The name of the target's framework, empty for torch."""
    if isinstance(target, type):
        roots = [base.__module__.partition(".")[0] for base in target.__mro__]
        # A layer of Keras may have torch's module among its bases.
        named = next((name for root, name in _BASES.items() if root in roots), "")
        spoken = named or _spoken_by([f for f in vars(target).values() if inspect.isfunction(f)])
    else:
        root = type(target).__module__.partition(".")[0]
        spoken = _ROOTS.get(root, "") or _spoken_by([inspect.unwrap(target)])
    return "" if spoken == "torch" else spoken


def crossings(target: Any) -> list[tuple[str, int]]:
    """The ways to reach a target, the likeliest first: framework, and axes it is called one by one over."""
    framework = framework_of(target)
    if framework in ("", "keras", "flax"):
        return [(framework, 0)]
    if framework == "equinox":
        # Its modules take one sample by convention.
        return [(framework, 1), (framework, 0)]
    return [(framework, 0), (framework, 2), (framework, 1)]


def _spoken_by(functions: list[Any]) -> str:
    """The framework that code speaks of, in any function it calls; torch before others."""
    spoken: set[str] = set()
    seen: set[int] = set()
    for function in functions:
        spoken |= set(_roots(function, seen))
    for name in ("torch", "jax", "numpy"):
        if name in spoken and not (name == "numpy" and _beside_torch(functions)):
            return name
    return "torch"


def _beside_torch(functions: list[Any]) -> bool:
    """Whether the code stands in a module that imports torch: there np.sqrt is a number's."""
    spaces = [getattr(inspect.unwrap(f), "__globals__", {}) for f in functions]
    return any(_root(value) == "torch" for space in spaces for value in list(space.values()))


def _roots(function: Any, seen: set[int]) -> Iterator[str]:
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    own = function.__module__.partition(".")[0]
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        root = _root(value)
        if root:
            yield root
        elif str(getattr(value, "__module__", "")).partition(".")[0] == own:
            yield from _roots(value, seen)


def _root(value: Any) -> str:
    place = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return _ROOTS.get(str(place).partition(".")[0], "")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
