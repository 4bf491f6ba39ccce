"""How a target is built and called in canonical terms: the interface, and the adapter of a reference."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from attncheck.model.case import Scalar
from attncheck.targets.normalising import AROUND, Norm, Normed
from attnref import Mechanism
from attnref._signature import Signature, read
from attnref.axes import BY_NAME

# What several heads of queries may share, by the first letters of the weights.
MEMORY = ("key.", "value.")


@dataclass(frozen=True)
class Interface:
    """What the judge must know of an adapter.

    ranks       inputs of the reference that come in another form than the longest: name -> rank
    also        further forms in which the target takes them: name -> rank each
    inputs      name of a tensor that is handed over -> the reference's inputs it stands for
                (a self-attention hands over one `x`, which is q, k and v)
    takes       optional inputs and options of the reference that the target understands
    fixed       options that hold for every call, such as {"causal": True}
    absent      parameters of the reference that the target does not have; they count as zero, a factor as one
    identity    those it does not have and that are the identity instead
    derived     axes whose size follows from others in the target: axis -> expression
    tied        axes that are one, because tensors with them are stacked: axis -> leading axis
    free        axes whose size the target lets one choose apart from the others
    loads       whether the reference's weights can be put into the target
    shared      how many heads of keys and values there are, where each serves several heads of queries
    lacking     in what the target's weights cannot be the reference's: too few, or each several times; empty if nothing
    unmatched   defaults of the target, as `name=value`, at which its weights have no place in the reference
    spare       those that a call may leave out: the one before stands for them then
    is_module   whether the target has modes, or is a plain function
    gives       outputs that come back
    varies      axes over which an optional input may vary, where they are not all of them
    maskings    kinds of masks that can be handed over, where they are not all of them
    pads        axes over which what hides keys from every query may vary, where it has an argument of its own
    prefixes_only  whether masks can show nothing but the first keys of a sample
    exclusive   optional inputs and options of which a call may have only one
    notes       what was assumed, one line each, for the header
    framework   the framework of a target that is not torch's, as in `frameworks.bridges`
    dtype       what the target is judged in: float64 unless it computes in float32 alone
    refuses     rules on sizes that the target has beyond the contract's
    norms       norms inside the target, which the reference then has around itself
    unprojected sizes at which the target has no output layer, as a condition; empty for none
    documented  conventions that the target states: convention -> (option, words that say so)
    certainty   "verified" if the adapter agrees numerically with the reference; else "named" if
                names speak for it, "probed" if its weights act as their roles must, "placed" if
                shapes leave no doubt, "guessed" if nothing does; "written" if a person wrote it
    """

    mechanism: str
    inputs: Mapping[str, tuple[str, ...]]
    takes: tuple[str, ...] = ()
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    derived: Mapping[str, str] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    loads: bool = True
    shared: str = ""
    lacking: str = ""
    ranks: Mapping[str, int] = field(default_factory=dict)
    also: tuple[Mapping[str, int], ...] = ()
    unmatched: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    is_module: bool = True
    gives: tuple[str, ...] = ("out",)
    varies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    maskings: tuple[str, ...] = ()
    pads: tuple[str, ...] = ()
    prefixes_only: bool = False
    exclusive: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    certainty: str = "verified"
    dtype: str = "float64"
    framework: str = ""
    unprojected: str = ""
    norms: tuple[Norm, ...] = ()
    conventions: Mapping[str, str] = field(default_factory=dict)
    documented: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Adapter(Protocol):
    """Builds a target and calls it in canonical terms."""

    @property
    def interface(self) -> Interface:
        """What the judge must know."""

    def build(self, names: Mapping[str, Scalar]) -> Any:
        """A new instance for sizes and options; a plain function is its own instance."""

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        """Put the reference's parameters into the instance."""

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        """Call the instance; the result is named and laid out as the reference's."""

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        """Gradients of the instance's parameters in canonical form, after a backward pass."""


@dataclass(frozen=True)
class Reference:
    """A mechanism's reference as an adapter: the judge's source of right answers.

    `like` is the interface of a target, whose inputs the reference then takes.
    """

    mechanism: Mechanism
    like: Interface | None = None

    @cached_property
    def interface(self) -> Interface:
        if self.like is not None:
            return self.like
        signature = signature_of(self.mechanism)
        optional = tuple(t.name for t in signature.inputs if t.optional)
        options = dict.fromkeys(
            (*(p.name for p in signature.others), *(o.name for o in self.mechanism.contract.options))
        )
        return Interface(
            mechanism=self.mechanism.id,
            inputs={t.name: (t.name,) for t in signature.inputs if not t.optional},
            takes=(*optional, *options),
            free=tuple(self.mechanism.contract.defaults),
            also=forms_of(self.mechanism)[1:],
            gives=tuple(t.name for t in signature.outputs),
        )

    def build(self, names: Mapping[str, Scalar]) -> Any:
        if self.mechanism.module is None:
            return self.mechanism.call
        return build_reference(self.mechanism, names)

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        if not isinstance(built, nn.Module):
            return
        if self.interface.norms and not hasattr(built, AROUND):
            like = next(iter(parameters.values()))
            sizes = feature_sizes(self.mechanism, self.interface.inputs, names)
            norms = [Normed(norm, sizes[norm.places[0]]) for norm in self.interface.norms]
            built.add_module(AROUND, nn.ModuleList(norms).to(like.device, like.dtype))
        load_by_name(built, parameters)

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        around = {p: m for m in getattr(built, AROUND, ()) for p in m.norm.places}
        inputs = {name: around[name](t) if name in around else t for name, t in inputs.items()}
        function = built.forward if isinstance(built, nn.Module) else built
        known = arguments(getattr(function, "__func__", function))
        roles = {role: inputs[name] for name, roles in self.interface.inputs.items() for role in roles}
        extras = {name: tensor for name, tensor in inputs.items() if name in known and name not in roles}
        result = built(**roles, **extras, **{k: v for k, v in options.items() if k in known})
        results = result if isinstance(result, tuple) else (result,)
        named = dict(zip(self.mechanism.outputs, results, strict=False))
        return {n: around[n](t) if n == "out" and n in around else t for n, t in named.items()}

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        return {n: p.grad for n, p in built.named_parameters()} if isinstance(built, nn.Module) else {}


@lru_cache(maxsize=256)
def signature_of(mechanism: Mechanism) -> Signature:
    """The tensors of one call of a mechanism: of its module's forward if it has one."""
    function = mechanism.module.forward if mechanism.module else mechanism.call
    return read(function, mechanism.outputs)


def forms_of(mechanism: Mechanism) -> tuple[Mapping[str, int], ...]:
    """The ranks that inputs may have, the longest first, where no option tells which one it is."""
    if any(option.name == "rank" for option in mechanism.contract.options):
        return ()
    several = [t for t in signature_of(mechanism).inputs if not t.optional and len(t.ranks) > 1]
    ranks = [[len(dims) for dims in shape.ranks] for shape in several]
    return tuple(dict(zip([t.name for t in several], each, strict=True)) for each in product(*ranks) if each)


def constructor_axes(mechanism: Mechanism) -> tuple[str, ...]:
    """Axes whose sizes the reference's constructor takes."""
    if mechanism.module is None:
        return ()
    return tuple(p for p in inspect.signature(mechanism.module).parameters if p in BY_NAME)


def is_factor(parameter: str) -> bool:
    """Whether a target without this parameter has one in its place, not zero: a factor, such as a kernel's width."""
    return parameter == "gamma" or parameter.endswith("inverse_width")


def feature_sizes(
    mechanism: Mechanism, inputs: Mapping[str, tuple[str, ...]], names: Mapping[str, Any]
) -> dict[str, int]:
    """How many features each input and the output have, where these stand last."""
    signature = signature_of(mechanism)
    shapes = {name: signature[roles[0]] for name, roles in inputs.items()} | {"out": signature["out"]}
    return {name: shape.dims[-1].size(names) for name, shape in shapes.items()}


def build_reference(mechanism: Mechanism, names: Mapping[str, Scalar]) -> nn.Module:
    """The reference module for sizes and options; names its constructor lacks are left out."""
    assert mechanism.module is not None, f"{mechanism.id} has no module"
    return mechanism.module(**_given(mechanism.module, names))


def _given(module: Callable[..., nn.Module], names: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {k: v for k, v in names.items() if k in arguments(module)}


@lru_cache(maxsize=256)
def arguments(function: Callable[..., object]) -> frozenset[str]:
    """The names of what a function or a class takes."""
    return frozenset(inspect.signature(function).parameters)


def load_by_name(module: nn.Module, parameters: Mapping[str, Tensor]) -> None:
    """Copy tensors into parameters and buffers of the same names."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, value in parameters.items():
            if name in own:
                own[name].copy_(value)


def parameter_shapes(mechanism: Mechanism, names: Mapping[str, Scalar]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything a reference learns or tracks, for sizes and options."""
    if mechanism.module is None:
        return {}
    return _shapes_of(mechanism, tuple(_given(mechanism.module, names).items()))


@lru_cache(maxsize=4096)
def _shapes_of(mechanism: Mechanism, names: tuple[tuple[str, Scalar], ...]) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        module = build_reference(mechanism, dict(names))
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {n: tuple(t.shape) for n, t in tensors if t.is_floating_point()}


def first_tensor(result: object) -> Tensor | None:
    """The first tensor of a nested result, in order."""
    if isinstance(result, Tensor):
        return result
    return next((t for t in map(first_tensor, parts_of(result).values()) if t is not None), None)


def parts_of(result: object) -> Mapping[str, object]:
    """What a call returned, taken apart: entries of a tuple by number, else by key or by field."""
    if isinstance(result, (tuple, list)):
        return {str(index): part for index, part in enumerate(result)}
    if isinstance(result, Mapping):
        return {str(key): part for key, part in result.items()}
    names = [f.name for f in fields(result)] if is_dataclass(result) else getattr(result, "__dict__", ())
    return {name: getattr(result, name) for name in names if not name.startswith("_")}
