"""Values at lengths beyond 2^16, where a float64 reference with all scores would need 32 GiB for each head."""

from dataclasses import replace

import torch
from torch import Tensor

from attncheck.checks.check import Judgement, NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.oracle import expect, in_float64
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject, rules_of
from attnref.long import sampled_rows

# Past 2^16 by a quarter, so that what lies behind it has a say in most rows.
LENGTH = 2**16 + 2**14 + 1
_SHORT = 61
# With as many queries the work grows with the square; that keys behind 2^16 count, the other forms tell.
_SQUARE = 2**16 + 64
_ROWS = 64
# Sums of 80,000 terms in float32 go wrong by √80000 · 2^-24 = 1.7e-5 at random; a mistake shows 1e-1.
TOLERANCE = 1e-3
# Logits this much wider than usual leave a row to some ten keys, so that no sum cancels to nothing.
_SHARPER = 3.0


def _attends(subject: Subject) -> str | None:
    if {"q_len", "kv_len"} <= set(subject.axes):
        return None
    return f"{subject.mechanism.id} has no queries and keys of different lengths"


def _float32(subject: Subject) -> str | None:
    return None if "float32" in subject.dtypes else "float32 was not asked for"


def _sizes(subject: Subject, case: Case, q_len: int, kv_len: int) -> dict[str, int] | None:
    rules = rules_of(subject, dict(case.options))
    # Fused kernels, which alone get through many of both, want one width.
    square = {"heads": 1, "head_dim": 8, "v_dim": 8} if q_len == kv_len else {}
    wanted = {"batch": 1, "heads": 2, "q_len": q_len, "kv_len": kv_len, **square}
    return rules.complete({axis: wanted.get(axis, rules.base[axis]) for axis in rules.primary})


@check(
    "value", "values are right beyond 65536 positions", applies=both(_attends, needs_weights, _float32),
    judges_trouble=True, rank=48, most={"quick": 0, "default": 0, "deep": 3},
)  # fmt: skip
def long_sequences_match(subject: Subject, case: Case) -> Trial:
    """By turns many keys, many queries, or both: float32 against rows of the float64 reference."""
    form = case.seed % 3
    q_len, kv_len = ((_SHORT, LENGTH), (LENGTH, _SHORT), (_SQUARE, _SQUARE))[form]
    sizes = _sizes(subject, case, q_len, kv_len)
    if sizes is None or (sizes["q_len"], sizes["kv_len"]) != (q_len, kv_len):
        return NotJudged("queries and keys cannot have these lengths in the target")
    if form == 2 and subject.mechanism.id != "scaled_dot_product":
        return NotJudged("rows of it cannot be computed alone")
    causal = form == 2 and "causal" in subject.interface.takes and bool(case.seed // 3 % 2)
    ask = subject.ask(replace(case, sizes=sizes, dtype="float32", masking="").with_options(causal=causal))
    first = next(name for name, shape in subject.inputs.items() if "q_len" in shape.axes)
    ask = ask.edit(first, "scale", argument=_SHARPER)
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return NotJudged(f"too much for it: {answer.trouble}")
    if form == 2:
        return _rows_agree(answer.out, ask, case.seed, causal)
    return agree(answer.out, expect(subject, in_float64(ask)).out, "the output", TOLERANCE)


def _rows_agree(out: Tensor, ask: Ask, seed: int, causal: bool) -> Judgement:
    """Some rows, those on both sides of 2^16 among them."""
    q, k, v = (make(recipe).double() for recipe in list(in_float64(ask).inputs.values())[:3])
    if out.shape != (*q.shape[:-1], v.shape[-1]):
        return NotJudged("the output has another shape, which another check reports")
    some = torch.randperm(q.shape[2], generator=torch.Generator().manual_seed(seed))[:_ROWS]
    positions = torch.cat([torch.tensor([0, 2**16 - 1, 2**16, q.shape[2] - 1]), some])
    scale = ask.options.get("scale")
    expected = sampled_rows(q, k, v, positions, causal=causal, scale=None if scale is None else float(scale))
    return agree(out[:, :, positions], expected, f"{len(positions)} rows of the output", TOLERANCE)


CHECKS = (long_sequences_match,)
