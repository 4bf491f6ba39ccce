"""Values at lengths beyond 2^10 and 2^16; past the latter a float64 reference with all scores would need 32 GiB a head."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from attncheck.checks.check import NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.oracle import expect, in_float64
from attncheck.checks.value import with_masks
from attncheck.model.case import Case, Scalar
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import Reference
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

# Past 2^16 by a quarter, so that what lies behind it has a say in most rows.
LENGTH = 2**16 + 2**14 + 1
_SHORT = 61
# With as many queries the work grows with the square; that keys behind 2^16 count, the other forms tell.
SQUARE = 2**16 + 64
_ROWS = 64
# Scores beyond these, 256 MiB in float64, are computed for some rows only.
_MOST_SCORES = 2**25
# Sums of 80,000 terms in float32 go wrong by √80000 · 2^-24 = 1.7e-5 at random; a mistake shows 1e-1.
TOLERANCE = 1e-3
# Logits this much wider than usual leave a row to some ten keys, so that no sum cancels to nothing.
_SHARPER = 3.0
# As much as the largest of 80,000 keys has: whoever forgets the last key alone is wrong in many rows.
_LAST = 4.0

# What features there are costs time and tells nothing of lengths.
_NARROW: Mapping[str, Scalar] = {"batch": 1, "heads": 2, "hidden": 3}
# Fused kernels, which alone get through many of both, want one width.
_FUSED: Mapping[str, Scalar] = {"batch": 1, "heads": 1, "head_dim": 8, "v_dim": 8, "model_dim": 8}
PLANS: tuple[Mapping[str, Scalar], ...] = (
    {**_NARROW, "q_len": _SHORT, "kv_len": LENGTH},
    {**_NARROW, "q_len": LENGTH, "kv_len": _SHORT},
    {**_FUSED, "q_len": SQUARE, "kv_len": SQUARE},
    {**_FUSED, "q_len": SQUARE, "kv_len": SQUARE, "causal": True},
)


# One past the longest block that is usual, by way of a map one pixel longer than 32 each way.
BLOCKS: tuple[Mapping[str, Scalar], ...] = (
    {**_NARROW, "heads": 1, "q_len": 1025, "kv_len": 1025, "causal": True},
    {**_NARROW, "q_len": _SHORT, "kv_len": 1025},
    {**_NARROW, "q_len": 1025, "kv_len": _SHORT},
    {"batch": 1, "heads": 1, "model_dim": 4, "tokens": 1025},
    {"batch": 1, "length": 1025},
    {"batch": 1, "height": 33, "width": 33},
)


@check(
    "value", "values are right beyond 1024 positions", applies=needs_weights,
    judges_trouble=True, rank=43, most={"quick": 0, "default": 4, "deep": len(BLOCKS)}, plans=BLOCKS,
)  # fmt: skip
def many_positions_match(subject: Subject, case: Case) -> Trial:
    """More positions than any usual block has, so that what works in blocks puts several together."""
    ask = subject.ask(with_masks(subject, case))
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"more than it is made for: {answer.trouble}")
    return agree(answer.out, expect(subject, ask).out)


def _attends(subject: Subject) -> str | None:
    if {"q_len", "kv_len"} <= set(subject.axes):
        return None
    return f"{subject.mechanism.id} has no queries and keys of different lengths"


def takes_float32(subject: Subject) -> str | None:
    """Applies where float32 is to be judged: nobody computes so much in float64."""
    return None if "float32" in subject.dtypes else "float32 was not asked for"


@check(
    "value", "values are right beyond 65536 positions", applies=both(_attends, needs_weights, takes_float32),
    judges_trouble=True, rank=48, most={"quick": 0, "default": 0, "deep": len(PLANS)}, plans=PLANS,
)  # fmt: skip
def long_sequences_match(subject: Subject, case: Case) -> Trial:
    """Many keys, many queries, or both: float32 against rows of the float64 reference."""
    ask = _question(subject, case)
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"too much for it: {answer.trouble}")
    truth, place = in_float64(ask), subject.output_axis("q_len")
    if case.sizes["q_len"] * case.sizes["kv_len"] <= _MOST_SCORES:
        return agree(answer.out, expect(subject, truth).out, "the output", TOLERANCE)
    if place is None or subject.interface.norms:
        return NotJudged("rows of it cannot be computed alone")
    if answer.out.dim() <= place or answer.out.shape[place] != case.sizes["q_len"]:
        return NotJudged("the output has another shape, which another check reports")
    positions = some_positions(case.sizes["q_len"], case.seed)
    actual = answer.out.index_select(place, positions)
    return agree(actual, _rows(subject, truth, positions), f"{len(positions)} rows of the output", TOLERANCE)


def _question(subject: Subject, case: Case) -> Ask:
    """A case in float32, with sharp logits and a last key that many rows read."""
    ask = subject.ask(replace(case, dtype="float32", masking=""))
    first = next(name for name, shape in subject.inputs.items() if "q_len" in shape.axes)
    return subject.along(
        ask.edit(first, "scale", None, _SHARPER), subject.keys_axis, "put", (case.sizes["kv_len"] - 1, _LAST)
    )


def some_positions(length: int, seed: int) -> Tensor:
    """Some positions, those on both sides of 2^16 and the last among them."""
    some = torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:_ROWS]
    edges = [p for p in (0, 2**16 - 1, 2**16, length - 1) if p < length]
    return torch.cat([torch.tensor(edges), some])


def _rows(subject: Subject, ask: Ask, positions: Tensor) -> Tensor:
    """Rows of the reference's output: it is asked for their queries alone, with all keys."""
    reference = Reference(subject.mechanism)
    given = {name: make(recipe) for name, recipe in ask.inputs.items()}
    roles = {role: given[name] for name, own in subject.interface.inputs.items() for role in own}
    inputs = {role: _narrowed(subject, role, tensor, positions) for role, tensor in roles.items()}
    options = dict(ask.options)
    if options.pop("causal", False):
        keys = torch.arange(next(t.shape[-2] for n, t in roles.items() if n in ("k", "y")))
        inputs["mask"] = (keys <= positions[:, None])[None, None]
    built = reference.build(ask.names)
    if isinstance(built, nn.Module):
        built = built.double().eval()
        reference.load(built, {n: make(r) for n, r in ask.parameters.items()}, ask.names)
    with torch.no_grad():
        return reference.call(built, inputs, options)["out"]


def _narrowed(subject: Subject, role: str, tensor: Tensor, positions: Tensor) -> Tensor:
    axes = subject.signature[role].axes
    return tensor.index_select(axes.index("q_len"), positions) if "q_len" in axes else tensor


CHECKS = (many_positions_match, long_sequences_match)
