"""Shape, dtype and device at sizes that fit in no memory, on fake tensors and in milliseconds."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from attncheck.shapes.expressions import value
from attncheck.shapes.question import Question
from attncheck.shapes.symbolic import describe_error, quiet

# A module of a few layers makes some hundred operator calls whatever the length.
MOST_CALLS = 10_000


@dataclass(frozen=True)
class Giant:
    """One run at giant sizes: empty `problem` if shape, dtype and device are as they must be.

    `largest` is the operator that made the largest tensor, with its number of elements.
    """

    sizes: Mapping[str, int]
    problem: str
    largest: tuple[str, int]
    calls: int
    seconds: float


class _LoopError(Exception):
    """More operator calls than any number of layers explains."""


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types no modes
    """Counts operator calls, remembers the largest result, and sees indices that overflow."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.largest = ("none", 0)
        self.overflow = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise _LoopError
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._see(str(func.overloadpacket).removeprefix("aten."), tensor)
        return out

    def _see(self, name: str, tensor: torch.Tensor) -> None:
        # An expanded view has many elements and no memory.
        elements = tensor.numel() if all(tensor.stride()) else 0
        if elements > self.largest[1]:
            self.largest = (name, elements)
        if name == "arange" and not tensor.dtype.is_floating_point:
            most = torch.iinfo(tensor.dtype).max
            if tensor.numel() - 1 > most:
                self.overflow = (
                    f"arange counts to {tensor.numel() - 1} in {tensor.dtype}, which ends at {most}"
                )


def giant(question: Question, sizes: Mapping[str, int]) -> Giant:
    """Run once on fake tensors of these sizes. Never raises."""
    started, watch = time.perf_counter(), _Watch()
    everything = {**question.fixed, **sizes}
    try:
        with quiet():
            problem = _problem(question, _fake_run(question, everything, watch), everything)
    except _LoopError:
        problem = f"more than {MOST_CALLS} operator calls: it loops over an axis"
    except Exception as error:  # Whatever the target raises is the answer.
        problem = describe_error(error)
    return Giant(sizes, problem or watch.overflow, watch.largest, watch.calls, time.perf_counter() - started)


def largest_tensor(question: Question, sizes: Mapping[str, int]) -> int | None:
    """The elements of the largest tensor of a run that ends well or not; None if nobody knows."""
    found = giant(question, sizes)
    return found.largest[1] if found.calls and "operator calls" not in found.problem else None


def _fake_run(question: Question, sizes: Mapping[str, int], watch: _Watch) -> object:
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.random.fork_rng(devices=[]):
        call = question.build(sizes)
    with fake, torch.no_grad():
        tensors = {
            name: torch.empty([int(value(dim, sizes)) for dim in dims], dtype=question.dtype_of(name))
            for name, dims in question.inputs.items()
        }
        with watch:
            return call(**tensors)


def _problem(question: Question, out: object, sizes: Mapping[str, int]) -> str:
    if not isinstance(out, torch.Tensor):
        return f"the result is {type(out).__name__}, not a tensor"
    expected = tuple(int(value(dim, sizes)) for dim in question.output)
    if tuple(out.shape) != expected:
        return f"shape {tuple(out.shape)}, expected {expected}"
    if out.dtype != question.dtype:
        return f"dtype {out.dtype}, expected {question.dtype}"
    return "" if out.device.type == "cpu" else f"device {out.device}, expected cpu"
