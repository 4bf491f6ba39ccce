"""Real runs: what a callable does with tensors of given sizes, to check what the symbols said."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from attncheck.shapes.expressions import value
from attncheck.shapes.giant import largest_tensor
from attncheck.shapes.question import Forward, Question
from attncheck.shapes.symbolic import describe_error, quiet

# 2^27 elements are half a gigabyte in float32: a replay that needs more is not made.
MOST_ELEMENTS = 2**27


@dataclass(frozen=True)
class Replay:
    """One real run: `ok`, `crash`, `wrong`, or `skipped`, which is too large to be made."""

    sizes: Mapping[str, int]
    outcome: str
    detail: str = ""


def replay(question: Question, sizes: Mapping[str, int], call: Forward | None = None) -> Replay:
    """Run once at `sizes`, on `call` or on a fresh instance. Never raises."""
    everything = {**question.fixed, **sizes}
    # Scores have the square of the positions: three axes of 33 are five gigabytes.
    if max(everything.values(), default=1) > 256 or math.prod(everything.values()) > 2**13:
        elements = largest_tensor(question, everything)
        if elements is None or elements > MOST_ELEMENTS:
            return Replay(sizes, "skipped", f"it needs a tensor of {elements or 'unknown'} elements")
    try:
        with quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            call = question.build(everything) if call is None else call
            out = call(**_tensors(question, everything))
    except Exception as error:  # Whatever the target raises is the answer.
        return Replay(sizes, "crash", describe_error(error))
    if not isinstance(out, torch.Tensor):
        return Replay(sizes, "wrong", f"the result is {type(out).__name__}, not a tensor")
    expected = tuple(int(value(dim, everything)) for dim in question.output)
    if tuple(out.shape) != expected:
        return Replay(sizes, "wrong", f"shape {tuple(out.shape)}, expected {expected}")
    return Replay(sizes, "ok")


def in_turn(question: Question, points: Sequence[Mapping[str, int]]) -> Replay | None:
    """Run one instance at several sizes, one after another; the first run that is not right."""
    if not points:
        return None
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            call = question.build(question.fixed)
    except Exception as error:  # Whatever the target raises is the answer.
        return Replay(points[0], "crash", describe_error(error))
    runs = (replay(question, point, call) for point in points)
    return next((made for made in runs if made.outcome in ("crash", "wrong")), None)


def _tensors(question: Question, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    made = {}
    for name, dims in question.inputs.items():
        shape = [int(value(dim, sizes)) for dim in dims]
        dtype = question.dtype_of(name)
        # Ones are a mask that hides nothing, and a length that is legal for every size.
        real = torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.ones(shape, dtype=dtype)
        made[name] = real
    return made
