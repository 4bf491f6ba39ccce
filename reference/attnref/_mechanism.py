"""What is known of a mechanism besides its code: frozen data that checks, docs and messages read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import nn

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Citation:
    """Where the definition stands."""

    title: str
    url: str
    where: str = ""


@dataclass(frozen=True)
class Rule:
    """A condition on sizes and options under which the mechanism is defined.

    `holds` is a Python expression over axis and option names, such as `model_dim % heads == 0`.
    """

    holds: str
    because: str


@dataclass(frozen=True)
class Option:
    """A keyword of the reference that is not a size; `values[0]` is its default.

    `values` are those a suite should exercise; of numbers they are examples.
    """

    name: str
    values: tuple[Scalar, ...]
    meaning: str


@dataclass(frozen=True)
class Variant:
    """A named, documented form of the mechanism that is not the paper's."""

    id: str
    meaning: str
    options: Mapping[str, Scalar]
    used_by: str


@dataclass(frozen=True)
class Law:
    """A claim that holds for every input, named by the check that judges it.

    `axes` are the axes it speaks of, `inputs` and `parameters` the tensors; what they mean is
    the check's business. `only_eval` marks laws that batch norm or dropout breaks in training;
    `when` is a condition on sizes and options.
    """

    id: str
    axes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    only_eval: bool = False
    when: str = ""


@dataclass(frozen=True)
class BrokenLaw:
    """A claim that one might expect and that does not hold, with the reason."""

    law: Law
    because: str


@dataclass(frozen=True)
class Contract:
    """What types cannot say.

    `defaults` gives sizes that follow from others unless stated (`key_size` from `model_dim`);
    `lengths` names, for inputs that count keys, the axis that they count along.
    """

    rules: tuple[Rule, ...] = ()
    options: tuple[Option, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lengths: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    laws: tuple[Law, ...] = ()
    broken_laws: tuple[BrokenLaw, ...] = ()
    conventions: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, eq=False)
class Mechanism:
    """One attention function as mathematics.

    `call` is the function of that name. `module` is the class that owns parameters; a mechanism
    without parameters has none. `outputs` names what comes back, in order. `formula` is LaTeX.
    """

    id: str
    title: str
    formula: str
    call: Callable[..., object]
    cite: tuple[Citation, ...]
    contract: Contract
    module: type[nn.Module] | None = None
    outputs: tuple[str, ...] = ("out",)
    differs_from: str = ""
