"""An adapter as data: how a target is built, called and loaded. It runs, travels and prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from attncheck.model.case import Scalar
from attncheck.targets.masks import MaskForm, hides_keys_alone, parted
from attncheck.targets.normalising import Norm
from attncheck.targets.placing import Placement

# What a configuration may be made as, if not as a class of the target's module.
NAMESPACE, DICTIONARY = "SimpleNamespace", "dict"
# How a pack begins that ends with the place of an axis.
STACKED = "stacked on axis "


class Configuration(SimpleNamespace):
    """What a target is given for its configuration: fields that were guessed at."""


@dataclass(frozen=True)
class Argument:
    """One argument of a call: a tensor of the reference, or an expression over options and tensors.

    `name` is empty for a positional argument. `tensor` may name several, separated by commas,
    which `pack` puts into a "list", a "dict" by all their usual names, one after the other along
    the "last" axis, or on an axis of their own, such as "stacked on axis 2". `keys` are those names
    of the dictionary that the target reads, if known.
    """

    name: str
    tensor: str = ""
    constant: str = ""
    layout: str = ""
    pack: str = ""
    keys: tuple[str, ...] = ()


# Fields that JSON makes lists of, and that hold nothing but texts or plain mappings.
_TUPLES = (
    "absent", "identity", "idle", "free", "takes", "unmatched", "spare", "neutral", "stilled", "exclusive", "notes",
    "refuses", "also",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Everything that was found out about a target.

    arguments   constructor arguments: name -> expression over sizes and options
    config      name of a constructor argument that takes all of them as one object's fields
    made_as     what that object is: a namespace, a dictionary, or a class that the target's module knows
    result      where the output is: "" itself, "0" an index, "out" a key or a field
    tied        axes that are one because tensors with them are stacked: axis -> leading axis
    unmatched   defaults of the target at which its weights have no place in the reference
    spare       inputs that a call may leave out
    neutral     weights of a layer that the reference lacks, which pass on what they get
    stilled     rates of dropout that no argument sets, as paths to them; they are set to nought
    gate        how a gate that comes back alone is laid along the input that it scales, or weights along theirs, as an index
    weights     where the attention weights are, if they come back
    padding     how the target is told, in a second argument or another form, which keys a sample hides from every query
    biased      argument whose numbers are added to the logits
    exclusive   of these optional inputs and options a call may have only one
    shared      how many heads of keys and values there are, where each serves several heads of queries
    others      placements for sizes at which the target has other tensors
    dtype       what it computes in, where float64 is beyond it
    refuses     rules on sizes beyond the contract's: at others it raises, rounds or pads otherwise
    norms       norms inside it, which the reference then has around itself
    unprojected sizes at which it has no output layer, as a condition
    framework   the framework of a target that is not torch's
    owned       arguments of a function that are weights of the reference, or sizes -> which
    core        whether it attends between projections that are not its own
    mapped      leading axes over which such a target is called one by one
    switches    options of the reference -> (argument, value expression) of the call
    """

    mechanism: str
    qualname: str
    inputs: Mapping[str, tuple[str, ...]]
    call: tuple[Argument, ...]
    is_class: bool = True
    arguments: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    made_as: str = NAMESPACE
    result: str = ""
    result_layout: str = ""
    gate: str = ""
    weights: str | None = None
    mask: MaskForm | None = None
    padding: MaskForm | None = None
    biased: str = ""
    switches: Mapping[str, str] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()
    absent: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    derived: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    conventions: Mapping[str, str] = field(default_factory=dict)
    documented: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    certainty: str = "verified"
    loads: bool = True
    shared: str = ""
    lacking: str = ""
    idle: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    also: tuple[Mapping[str, int], ...] = ()
    unmatched: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    stilled: tuple[str, ...] = ()
    exclusive: tuple[str, ...] = ()
    others: tuple[tuple[Placement, ...], ...] = ()
    dtype: str = "float64"
    refuses: tuple[str, ...] = ()
    unprojected: str = ""
    norms: tuple[Norm, ...] = ()
    notes: tuple[str, ...] = ()
    framework: str = ""
    mapped: int = 0
    owned: Mapping[str, str] = field(default_factory=dict)
    core: bool = False

    def handed(self, mask: Tensor, batch: int) -> list[tuple[MaskForm, Tensor]]:
        """How a mask is handed over: what hides keys from every query goes to the argument, or in the form, for that.

        What neither of two arguments can say alone both of them say.
        """
        if self.mask is None:
            return []
        if self.padding is None or mask.dim() < 3:
            return [(self.mask, mask)]
        if hides_keys_alone(mask):
            return [(self.padding, mask.expand(batch, *mask.shape[1:]))]
        two = self.padding.argument != self.mask.argument
        parts = parted(mask) if two and mask.shape[0] == batch > 1 else None
        if parts is None:
            return [(self.mask, mask)]
        return [(self.mask, parts[0].expand(mask.shape)), (self.padding, parts[1])]

    def to_json(self) -> dict[str, object]:
        """As it travels."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Found":
        """What `to_json` wrote."""
        fields = dict(data)
        fields["inputs"] = {n: tuple(r) for n, r in data["inputs"].items()}
        fields["call"] = tuple(Argument(**{**a, "keys": tuple(a["keys"])}) for a in data["call"])
        fields["placements"] = _placements(data["placements"])
        fields["others"] = tuple(_placements(each) for each in data["others"])
        for name in ("mask", "padding"):
            if data[name]:
                fields[name] = MaskForm(**{**data[name], "axes": tuple(data[name]["axes"])})
        fields["documented"] = {n: tuple(said) for n, said in data["documented"].items()}
        fields["norms"] = tuple(Norm(**{**n, "places": tuple(n["places"])}) for n in data["norms"])
        for name in _TUPLES:
            fields[name] = tuple(data[name])
        return Found(**fields)


def _placements(data: Any) -> tuple[Placement, ...]:
    return tuple(Placement(**{**p, "roles": tuple(p["roles"])}) for p in data)


def value_of(expression: str, names: Mapping[str, Scalar | Tensor]) -> Any:
    """The value of an adapter's expression over sizes, options and, in a call, tensors."""
    known = {"max": max, "min": min, "list": list, "range": range, "SimpleNamespace": Configuration}
    return eval(expression, {"__builtins__": known, "torch": torch}, dict(names))
