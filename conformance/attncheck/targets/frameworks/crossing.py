"""The bridge: a target of another framework as a torch module or function of the same signature."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from attncheck.model.errors import UsageError
from attncheck.targets.frameworks.bridges import BRIDGES
from attncheck.targets.frameworks.recognising import crossings
from attncheck.targets.names import ZERO

# Random keys and switches of training are the bridge's to hand over; rates of dropout stay at 0.
_SETTLED = frozenset(
    {"rngs", "rng", "dropout_rng", "inference", "deterministic", "training", "decode", "sow_weights"}
)


class Framework(Protocol):
    """What a bridge needs of one framework."""

    # Names of a module's constructor and call that the framework settles, beside `_SETTLED`.
    settled: frozenset[str]
    # Names that are left at their defaults, where they have some.
    usual: frozenset[str]
    # Sizes that a module learns in its first call, which a constructor of torch would be told.
    seen: tuple[str, ...]

    def build(self, target: Any, arguments: Mapping[str, Any]) -> Any:
        """A new instance."""

    def parameters(self, built: Any) -> Mapping[str, Tensor] | None:
        """What it learns, by path; None if that shows only in a call."""

    def materialise(self, built: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """What it learns, seen in a first call."""

    def call(
        self, built: Any, parameters: Mapping[str, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any],
        *, train: bool, mapped: int,
    ) -> Any:  # fmt: skip
        """Call an instance with these parameters, or a function with none; tensors come back."""


def crossed(target: Any, framework: str, mapped: int = 0) -> Any:
    """The target as what takes tensors; itself if it is torch's."""
    if not framework:
        return target
    if isinstance(target, type):
        return _module(target, framework, mapped)
    return _function(target, framework, mapped)


def bridged(target: Any, framework: str | None = None, mapped: int | None = None) -> Any:
    """A class or function of another framework as one of torch, for adapters written by hand.

    It is called one by one over so many first axes as `mapped` says.

    Raises: UsageError if `framework` is none of those that have a bridge.
    """
    if framework is None:
        return crossed(target, *crossings(target)[0])
    if framework not in BRIDGES:
        raise UsageError(f"no bridge to {framework!r}; expected one of {', '.join(BRIDGES)}")
    usual = 1 if framework == "equinox" else 0
    return crossed(target, framework, usual if mapped is None else mapped)


def of(name: str) -> Framework:
    """The framework of that name. Raises UsageError if it cannot be imported."""
    from importlib import import_module

    home = {"flax": "jax", "equinox": "jax"}.get(name, name)
    try:
        module = import_module(f"attncheck.targets.frameworks.of_{home}")
    except ModuleNotFoundError as error:
        raise UsageError(f"{name} cannot be imported ({error}); pip install attncheck[{home}]") from error
    return cast(Framework, module.FRAMEWORKS[name])


class Bridged(nn.Module):
    """A module of another framework, whose parameters are mirrored as torch's."""

    def __init__(self, target: type, framework: str, mapped: int, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self._framework, self._mapped = of(framework), mapped
        # In a list: a layer of Keras is a module of torch, whose parameters would count twice.
        self._held = [self._framework.build(target, arguments)]
        parameters = self._framework.parameters(self._held[0])
        if parameters is None:
            self.register_parameter("unseen", cast(nn.Parameter, nn.UninitializedParameter()))
        else:
            self._mirror(parameters)

    def _mirror(self, parameters: Mapping[str, Tensor]) -> None:
        for path, tensor in parameters.items():
            *places, name = path.split(".")
            home: nn.Module = self
            for place in places:
                if place not in home._modules:
                    home.add_module(place, nn.Module())
                home = home.get_submodule(place)
            home.register_parameter(name, nn.Parameter(tensor))

    def through(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the instance with the mirrored parameters."""
        if "unseen" in self._parameters:
            like = self._parameters.pop("unseen")
            assert like is not None, "registered above"
            seen = self._framework.materialise(self._held[0], args, kwargs)
            self._mirror({n: t.to(like.device, like.dtype) for n, t in seen.items()})
        return self._framework.call(
            self._held[0],
            dict(self.named_parameters()),
            args,
            kwargs,
            train=self.training,
            mapped=self._mapped,
        )


def _module(target: type, framework: str, mapped: int) -> type[nn.Module]:
    bridge = of(framework)

    def init(self: Bridged, **arguments: Any) -> None:
        Bridged.__init__(self, target, framework, mapped, arguments)

    def forward(self: Bridged, *args: Any, **kwargs: Any) -> Any:
        return self.through(args, kwargs)

    made = type(target.__name__, (Bridged,), {"__init__": init, "forward": forward})
    made.__qualname__, made.__module__, made.__doc__ = target.__qualname__, target.__module__, target.__doc__
    made.__signature__ = _constructor(target, bridge)  # type: ignore[attr-defined]  # read by inspect
    called = inspect.signature(called_of(target))
    made.forward.__signature__ = _visible(called, bridge)  # type: ignore[attr-defined]  # read by inspect
    return made


def _function(target: Callable[..., Any], framework: str, mapped: int) -> Callable[..., Any]:
    @functools.wraps(target)
    def function(*args: Any, **kwargs: Any) -> Any:
        return of(framework).call(target, {}, args, kwargs, train=False, mapped=mapped)

    function.__signature__ = _visible(inspect.signature(target), of(framework))  # type: ignore[attr-defined]  # read by inspect
    return function


def _constructor(target: type, bridge: Framework) -> inspect.Signature:
    shown = _visible(constructor_of(target), bridge)
    own = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD]
    sizes = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in bridge.seen]
    return shown.replace(parameters=[*own, *sizes])


def constructor_of(target: type) -> inspect.Signature:
    """What a class takes: its own constructor says it where its metaclass takes anything."""
    own = inspect.signature(cast(Any, target).__init__)
    return own.replace(parameters=list(own.parameters.values())[1:])


def called_of(target: Any) -> Callable[..., Any]:
    """What a class is called by: `call`, which is Keras's, `__call__`, or `forward`."""
    own = [name for name in ("call", "__call__", "forward") if callable(_own(target, name))]
    return cast(Callable[..., Any], getattr(target, own[0] if own else "__call__"))


def _own(target: Any, name: str) -> Any:
    return next((vars(base)[name] for base in target.__mro__[:-1] if name in vars(base)), None)


def _visible(signature: inspect.Signature, bridge: Framework) -> inspect.Signature:
    settled = {*_SETTLED, *bridge.settled, *ZERO} - {"p"}
    shown = [
        p
        for p in signature.parameters.values()
        if p.name not in settled and (p.default is p.empty or p.name not in bridge.usual)
    ]
    return signature.replace(parameters=shown, return_annotation=inspect.Signature.empty)


def mapped_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """A nested result with the function applied to everything that is no list, tuple or dict."""
    if isinstance(tree, Mapping):
        return {name: mapped_tree(function, part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return tuple(mapped_tree(function, part) for part in tree)
    return function(tree)


def flattened(tree: Any) -> list[Tensor]:
    """The tensors among arguments, in order."""
    found: list[Tensor] = []
    mapped_tree(lambda part: found.append(part) if isinstance(part, torch.Tensor) else None, tree)
    return found
