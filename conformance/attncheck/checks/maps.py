"""Values of maps with more than 2^16 pixels, where every pixel's weights for all pixels would need 16 GiB."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from attncheck.checks.budget import within_budget
from attncheck.checks.check import NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.long import TOLERANCE, some_positions, takes_float32
from attncheck.checks.oracle import expect, in_float64
from attncheck.model.case import Case, Scalar
from attncheck.strategies.sizes import LONG
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject
from attnref.large import sampled_pixels

# Mechanisms whose pixels read from many others, each of which can be asked for alone.
_READERS = ("non_local", "spatial_self", "criss_cross")
# Twice as wide inputs make logits four times as wide, so that a pixel reads from few others.
_SHARPER = 2.0
# So much that one pixel in seven reads from the last row, and whoever forgets it is wrong there.
_LAST = 8.0

# One width for queries, keys and values: fused kernels, which alone get through, want it so.
_FUSED: Mapping[str, Scalar] = {"batch": 1, "channels": 8, "reduced": 8, "v_dim": 8}
PLANS: tuple[Mapping[str, Scalar], ...] = (
    {**_FUSED, "height": 257, "width": 256},
    {**_FUSED, "rank": 1, "length": 2**16 + 1},
)
# 2^16 numbers above one have a sum above the largest number of float16.
AVERAGED: tuple[Mapping[str, Scalar], ...] = ({"batch": 1, "channels": 4, "height": 257, "width": 256},)


def _reads_pixels(subject: Subject) -> str | None:
    if subject.mechanism.id in _READERS and "x" in subject.inputs:
        return None
    return f"{subject.mechanism.id} has no weights for pairs of pixels"


def _takes_float16(subject: Subject) -> str | None:
    return None if "float16" in subject.dtypes else "float16 was not asked for"


@check(
    "value", "values are right for maps of more than 65536 pixels",
    applies=both(_reads_pixels, needs_weights, takes_float32),
    judges_trouble=True, rank=48, most={"quick": 0, "default": 0, "deep": 1}, plans=PLANS,
)  # fmt: skip
def large_maps_match(subject: Subject, case: Case) -> Trial:
    """A map of 257 × 256, or a signal as long, in float32: some of its pixels against the float64 reference."""
    if subject.interface.norms:
        return NotJudged("pixels of it cannot be computed alone")
    if max(case.sizes[axis] for axis in LONG if axis in case.sizes) == 1:
        return NotJudged("one pixel is no map")
    ask = subject.ask(replace(case, dtype="float32"))
    ask = ask.edit("x", "scale", None, _SHARPER)
    # The last row, be it one pixel wide.
    place = next(i for i, size in enumerate(ask.inputs["x"].shape) if i > 1 and size > 1)
    ask = ask.edit("x", "put", place, (ask.inputs["x"].shape[place] - 1, _LAST))
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"too much for it: {answer.trouble}")
    x = make(in_float64(ask).inputs["x"])
    if answer.out.shape != x.shape:
        return NotJudged("the output has another shape, which another check reports")
    flat = x.flatten(2)
    positions = some_positions(flat.shape[2], case.seed)
    expected = _pixels(subject, in_float64(ask), x, positions)
    # What was read is small beside the input that it is added to.
    here, actual = flat[:, :, positions], answer.out.flatten(2)[:, :, positions].double()
    return agree(actual - here, expected - here, f"what {len(positions)} pixels read", TOLERANCE)


def _pixels(subject: Subject, ask: Ask, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    reference = Reference(subject.mechanism)
    block = reference.build(ask.names).double().eval()
    reference.load(block, {name: make(recipe) for name, recipe in ask.parameters.items()}, ask.names)
    with torch.no_grad():
        return sampled_pixels(block, x, positions)


def _averages_maps(subject: Subject) -> str | None:
    laws = ("gate_sees_only_the_mean", "gate_sees_only_mean_and_maximum")
    if any(subject.laws(law) for law in laws):
        return None
    return f"{subject.mechanism.id} has no gate of a mean"


@check(
    "value", "the mean of a large map fits float16", applies=both(_averages_maps, needs_weights, _takes_float16),
    rank=48, most={"quick": 0, "default": 1, "deep": 1}, plans=AVERAGED,
    deviation="the sum of a large map overflows float16 though its mean would fit",
)  # fmt: skip
def means_fit_float16(subject: Subject, case: Case) -> Trial:
    """Of as many numbers as float16 has no sum for, the mean is one of them all the same."""
    ask = subject.ask(replace(case, dtype="float16")).edit("x", "absolute").edit("x", "add", None, 1.0)
    (answer,) = yield [ask]
    if answer.out.dtype != torch.float16:
        return NotJudged("no result in float16, which another check reports")
    return within_budget(answer.out, expect(subject, ask).out, expect(subject, in_float64(ask)).out)


CHECKS = (large_maps_match, means_fit_float16)
