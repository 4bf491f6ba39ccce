"""Norms that stand inside a target, before its inputs are used or after its output is made."""

import contextlib
import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attncheck.targets.placing import Placement

# Parameters of these norms by the reference's names: `around.0.weight` and so on.
AROUND = "around"
_EPS = (1e-5, 1e-6, 1e-8, 1e-12, 2.0**-23, 2.0**-52, 1e-24)
_BIASES = ("bias", "beta", "b")
_MOST = 12


@dataclass(frozen=True)
class Norm:
    """A norm over features: of the inputs named in `places`, or of "out".

    `kind` is "layer" or "rms"; what is learned is multiplied after `offset` was added to it.
    """

    places: tuple[str, ...]
    kind: str
    eps: float
    gain: bool
    bias: bool
    offset: float = 0.0


class Normed(nn.Module):
    """What a norm does, in torch's plainest words."""

    def __init__(self, norm: Norm, size: int) -> None:
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.ones(size)) if norm.gain else None
        self.bias = nn.Parameter(torch.zeros(size)) if norm.bias else None

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True) if self.norm.kind == "layer" else x
        out = centred * (centred.square().mean(-1, keepdim=True) + self.norm.eps).rsqrt()
        out = out if self.weight is None else out * (self.weight + self.norm.offset)
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True)
class Inside:
    """A norm that was found in a target: what it does, and the names of what it learns."""

    path: str
    norm: Norm
    size: int
    gain: str
    bias: str

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(name for name in (self.gain, self.bias) if name)


def norms_inside(built: nn.Module) -> tuple[Inside, ...]:
    """The norms over features that an instance has, known by what they do."""
    found = []
    for path, module in built.named_modules():
        inside = None if any(module.children()) else _identified(path, module)
        found += [] if inside is None else [inside]
    return tuple(found)


def _identified(path: str, module: nn.Module) -> Inside | None:
    learned = {n: p for n, p in module.named_parameters() if p.requires_grad}
    bias = next((n for n in learned if n in _BIASES), "")
    gain = next((n for n in learned if n != bias), "")
    if not gain or len(learned) > 2 or len({p.numel() for p in learned.values()}) != 1:
        return None
    size = learned[gain].numel()
    if max(learned[gain].shape, default=0) != size:
        return None
    trial = copy.deepcopy(module).double().eval()
    draw = torch.Generator().manual_seed(5)
    # Small enough that every usual eps shows.
    x = torch.randn(2, 3, size, dtype=torch.float64, generator=draw) * 0.03
    with torch.no_grad():
        for parameter in trial.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=draw) + 0.5)
        own = dict(trial.named_parameters())
        for out, (kind, eps, offset) in itertools.product(
            _answers(trial, x), itertools.product(("layer", "rms"), _EPS, (0.0, 1.0))
        ):
            norm = Norm((), kind, eps, True, bool(bias), offset)
            plain = Normed(norm, size).double()
            plain.load_state_dict(
                {"weight": own[gain].flatten()} | ({"bias": own[bias].flatten()} if bias else {})
            )
            if out.shape == x.shape and torch.allclose(out, plain(x), rtol=1e-9, atol=1e-12):
                names = [f"{path}.{n}" if path and n else n for n in (gain, bias)]
                return Inside(path, norm, size, *names)
    return None


def _answers(module: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """What comes back for features in the last axis, or in the second of an image."""
    with contextlib.suppress(Exception):
        yield module(x)
    with contextlib.suppress(Exception):
        yield module(x.mT.unsqueeze(-1)).squeeze(-1).mT


def arrangements(
    inside: Sequence[Inside], sizes: Mapping[str, int]
) -> Iterator[tuple[tuple[Norm, ...], tuple[Placement, ...]]]:
    """Where the norms may stand; `sizes` are those of the features of each input and of "out"."""
    choices = [list(_places(each, sizes)) for each in inside]
    for chosen in itertools.islice(itertools.product(*choices), _MOST):
        taken = [place for places in chosen for place in places]
        if len(taken) != len(set(taken)):
            continue
        norms, placements = [], []
        for index, (each, places) in enumerate(zip(inside, chosen, strict=True)):
            norms.append(Norm(places, each.norm.kind, each.norm.eps, True, each.norm.bias, each.norm.offset))
            leaves = zip((each.gain, each.bias), ("weight", "bias"), strict=True)
            placements += [Placement(own, (f"{AROUND}.{index}.{leaf}",)) for own, leaf in leaves if own]
        yield tuple(norms), tuple(placements)


def _places(inside: Inside, sizes: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Inputs one by one, all of them, the output: what the path tells comes first."""
    inputs = [name for name in sizes if name != "out" and sizes[name] == inside.size]
    options: list[tuple[str, ...]] = [(name,) for name in inputs]
    options += [tuple(inputs)] if len(inputs) > 1 else []
    options += [("out",)] if sizes.get("out") == inside.size else []
    yield from sorted(options, key=lambda places: _unlikely(inside.path.lower(), places))


def _unlikely(path: str, places: tuple[str, ...]) -> bool:
    """Whether the path speaks of another place: `to_out.1` of the output, `norm_context` of keys and values."""
    if "out" in path or "post" in path:
        return places != ("out",)
    if "context" in path or "kv" in path:
        return "kv" not in places
    return places == ("out",)
