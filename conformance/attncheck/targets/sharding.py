"""One rank of a target that computes in several processes: what it is handed, and its part of the answer.

Every rank gets the whole question and answers in the whole shape, such that the ranks' answers add up to the target's.
"""

import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from attncheck.model.case import Scalar
from attncheck.model.errors import UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import Adapter, Interface, signature_of
from attncheck.targets.loading import load
from attncheck.targets.names import CAUSAL, SCALE, SOFT_CAP
from attncheck.targets.parameters import parameters_of
from attnref import Mechanism

# Axes along which the tensors of a function are dealt out.
SHARDED = ("q_len", "kv_len")
_SWITCHES = {"causal": CAUSAL, "scale": SCALE, "soft_cap": SOFT_CAP}


def bounds(length: int, rank: int, world: int) -> tuple[int, int]:
    """Start and length of a rank's shard: as even as can be, the longer ones first."""
    least, longer = divmod(length, world)
    return rank * least + min(rank, longer), least + (rank < longer)


def open_rank(
    target: str, mechanism: str, rank: int, world: int, meeting: str, device: str, seconds: float
) -> Adapter:
    """Join the other ranks, who meet in the file `meeting`, and open the target."""
    import torch.distributed as dist

    if sys.platform == "linux":
        # Gloo asks for the address of the host's name, which not every host has.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if device.startswith("cuda"):
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
    )
    found = load(target)
    if isinstance(found, type):
        return WholeInputs(BY_ID[mechanism], found, rank, world)
    return Shards(BY_ID[mechanism], found, rank, world)


@dataclass(frozen=True)
class Shards:
    """A function that gets this rank's queries, keys and values, and answers for its queries."""

    mechanism: Mechanism
    target: Any
    rank: int
    world: int
    switches: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        known = {p.name for p in parameters_of(self.target)}
        found = {option: next((n for n in names if n in known), "") for option, names in _SWITCHES.items()}
        object.__setattr__(self, "switches", {option: name for option, name in found.items() if name})

    @property
    def interface(self) -> Interface:
        inputs = [t.name for t in signature_of(self.mechanism).inputs if not t.optional]
        return Interface(
            mechanism=self.mechanism.id,
            inputs={name: (name,) for name in inputs},
            takes=tuple(self.switches),
            derived={"kv_len": "q_len"},
            refuses=tuple(f"{axis} >= {self.world}" for axis in SHARDED),
            notes=(
                f"computed by {self.world} processes, each with its shard of {', '.join(inputs)} "
                f"along {' and '.join(SHARDED)}",
            ),
            certainty="written",
        )

    def build(self, names: Mapping[str, Scalar]) -> Any:
        return self.target

    def load(self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        """A function has no weights."""

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        signature = signature_of(self.mechanism)
        places = {name: _place(signature[name].axes) for name in inputs}
        local = {name: self._shard(tensor, places[name]) for name, tensor in inputs.items()}
        before = {name: tensor.detach().clone() for name, tensor in local.items()}
        named = {name: options[option] for option, name in self.switches.items() if option in options}
        named = {name: value for name, value in named.items() if value is not None}
        out = built(*local.values(), **named)
        with torch.no_grad():
            for name, tensor in inputs.items():
                if not torch.equal(local[name], before[name]):
                    # What the target writes into its copy has to be seen in what was handed over.
                    self._own(tensor, places[name]).copy_(local[name])
        return {"out": self._placed(out, inputs, _place(signature["out"].axes))}

    def parameter_gradients(
        self, built: Any, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        return {}

    def _own(self, tensor: Tensor, place: int) -> Tensor:
        start, length = bounds(tensor.shape[place], self.rank, self.world)
        return tensor.narrow(place, start, length)

    def _shard(self, tensor: Tensor, place: int) -> Tensor:
        # Memory of its own: a rank of a real program has nothing else, and sends it as it is.
        return self._own(tensor, place).clone(memory_format=torch.contiguous_format)

    def _placed(self, out: object, inputs: Mapping[str, Tensor], place: int) -> Tensor:
        """The rank's part of the output between zeros for the other ranks' parts."""
        if not isinstance(out, Tensor):
            raise TypeError(f"expected a tensor as the output, got {type(out).__name__}")
        first = next(iter(inputs.values()))
        total = first.shape[_place(signature_of(self.mechanism)[next(iter(inputs))].axes)]
        start, length = bounds(total, self.rank, self.world)
        if out.dim() <= place or out.shape[place] != length:
            raise ValueError(f"expected an output of {length} queries, got the shape {tuple(out.shape)}")
        around = [0, 0] * (out.dim() - place - 1) + [start, total - start - length]
        return pad(out, around)


def _place(axes: tuple[str, ...]) -> int:
    return next(index for index, axis in enumerate(axes) if axis in SHARDED)


@dataclass(frozen=True)
class WholeInputs:
    """A module whose ranks get whole inputs and hold slices of weights; each answers in whole.

    Its parameters have the reference's names; each is whole or the rank's slice along one axis.
    """

    mechanism: Mechanism
    target: Any
    rank: int
    world: int

    @property
    def interface(self) -> Interface:
        signature, forward = signature_of(self.mechanism), parameters_of(self.target.forward)
        named = {p.name for p in (*forward, *parameters_of(self.target))}
        options = [*(t.name for t in signature.inputs if t.optional), *_options(self.mechanism)]
        return Interface(
            mechanism=self.mechanism.id,
            inputs={t.name: (t.name,) for t in signature.inputs if not t.optional},
            takes=tuple(name for name in options if name in named),
            free=tuple(axis for axis in self.mechanism.contract.defaults if axis in named),
            refuses=(f"heads % {self.world} == 0",) if "heads" in named else (),
            notes=(f"computed by {self.world} processes, each with whole inputs and its slices of weights",),
            certainty="written",
        )

    def build(self, names: Mapping[str, Scalar]) -> Any:
        known = {p.name for p in parameters_of(self.target)}
        return self.target(**{name: value for name, value in names.items() if name in known})

    def load(self, built: nn.Module, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]) -> None:
        own = dict(built.named_parameters()) | dict(built.named_buffers())
        for name, whole in parameters.items():
            if name not in own:
                raise UsageError(f"expected a parameter {name!r} as the reference has, got {', '.join(own)}")
            own[name].copy_(self._slice(whole, own[name].shape, name))

    def _slice(self, whole: Tensor, shape: torch.Size, name: str) -> Tensor:
        axis = self._cut(whole.shape, shape, name)
        return whole if axis is None else whole.narrow(axis, self.rank * shape[axis], shape[axis])

    def _cut(self, whole: torch.Size, shape: torch.Size, name: str) -> int | None:
        """The axis along which a parameter is a slice; None if it is whole."""
        if whole == shape:
            return None
        if len(whole) == len(shape):
            differing = [axis for axis in range(len(shape)) if whole[axis] != shape[axis]]
            if len(differing) == 1 and shape[differing[0]] * self.world == whole[differing[0]]:
                return differing[0]
        raise UsageError(
            f"{name} has the shape {tuple(shape)} on rank {self.rank}; expected {tuple(whole)}, "
            f"or one axis of it divided by {self.world}"
        )

    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        required = [t.name for t in signature_of(self.mechanism).inputs if not t.optional]
        known = {p.name for p in parameters_of(built.forward)}
        whole = {name: self._shared(tensor) for name, tensor in inputs.items()}
        extras = {n: v for n, v in {**options, **whole}.items() if n in known and n not in required}
        result = built(*(whole[name] for name in required), **extras)
        out = result[0] if isinstance(result, tuple) else result
        # The value is a share, so that the ranks' answers add up; the gradient stays whole.
        return {"out": out.detach() / self.world + (out - out.detach())}

    def _shared(self, tensor: Tensor) -> Tensor:
        """The tensor itself, whose gradient is a share of what comes back."""
        if tensor.requires_grad:
            tensor = tensor.view_as(tensor)
            tensor.register_hook(lambda gradient: gradient / self.world)  # type: ignore[no-untyped-call]  # torch types no hooks
        return tensor

    def parameter_gradients(
        self, built: nn.Module, parameters: Mapping[str, Tensor], names: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor | None]:
        own = dict(built.named_parameters())
        return {n: self._whole(n, own[n], parameters[n].shape) for n in parameters if n in own}

    def _whole(self, name: str, own: Tensor, shape: torch.Size) -> Tensor | None:
        """A slice's gradient among zeros; of a parameter that every rank has, a share."""
        if own.grad is None:
            return None
        axis = self._cut(shape, own.shape, name)
        if axis is None:
            return own.grad / self.world
        gradient = own.grad.new_zeros(shape)
        gradient.narrow(axis, self.rank * own.shape[axis], own.shape[axis]).copy_(own.grad)
        return gradient


def _options(mechanism: Mechanism) -> tuple[str, ...]:
    known = inspect.signature(mechanism.module or mechanism.call).parameters
    return tuple(o.name for o in mechanism.contract.options if o.name in known)
