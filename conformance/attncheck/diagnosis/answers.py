"""When two answers to a question are the same: a target's and the reference's, or a known mistake's."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from attncheck.checks.oracle import attempted
from attncheck.checks.value import living
from attncheck.strategies.tolerance import difference
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.legal import dead_rows
from attncheck.targets.subject import Subject

# The same mistake in other words differs by rounding, 1e-13; two mistakes by 1e-3 and more.
SAME = 1e-6
# What is this much smaller than the largest gradient that flows is zero but for rounding.
_FLOWING = 1e-3
# Letters of torch's messages that tell one failure of a backward pass from another.
_TELLING = 40


def is_wrong(subject: Subject, ask: Ask, answer: Answer) -> bool:
    """Whether an answer is not the reference's; of the calls that raise, those whose backward pass does."""
    if answer.trouble is not None:
        return answer.trouble.stage == "backward"
    return not same(subject, ask, answer, attempted(subject, ask))


def same(subject: Subject, ask: Ask, actual: Answer, expected: Answer, bound: float = SAME) -> bool:
    """Whether outputs are the same in the rows that see a key, and what came back beside them too."""
    if actual.trouble is not None or expected.trouble is not None:
        return _same_trouble(actual.trouble, expected.trouble)
    if actual.out.shape != expected.out.shape:
        return False
    rows = [living(subject, ask.names, answer.out) for answer in (actual, expected)]
    return close(rows[0], rows[1], bound) and all(
        close(a, e, bound, floor) for a, e, floor in _beside(ask, actual.tensors, expected.tensors)
    )


def close(actual: Tensor, expected: Tensor, bound: float = SAME, floor: float = SAME) -> bool:
    """Whether two tensors have one shape and, within a share of the largest number, one content."""
    return actual.shape == expected.shape and difference(actual, expected, floor).gap <= bound


def _same_trouble(actual: Trouble | None, expected: Trouble | None) -> bool:
    if actual is None or expected is None or actual.stage != expected.stage:
        return False
    # A forward pass fails in the words of whatever was used for it; backward passes are torch's own.
    return actual.stage != "backward" or actual.message[:_TELLING] == expected.message[:_TELLING]


def _beside(
    ask: Ask, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """What came back beside the outputs, in pairs, with the size that counts as one."""
    both = actual.keys() & expected.keys()
    if "weights" in both and ask.options.get("need_weights") and not dead_rows(ask.names):
        yield (*_of_one_rank(actual["weights"], expected["weights"]), SAME)
    gradients = {f"grad.{name}" for name in ask.gradients} & (actual.keys() | expected.keys())
    flowing = max((_largest(expected[name]) for name in gradients & expected.keys()), default=0.0)
    for name in gradients:
        # None at all is as good as zeros.
        none = torch.zeros_like(actual[name] if name in actual else expected[name])
        yield actual.get(name, none), expected.get(name, none), max(SAME, _FLOWING * flowing)
    yield from ((actual[name], expected[name], SAME) for name in both - gradients - {"out", "weights"})


def _of_one_rank(actual: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of each head, or the mean of them where either gives no more."""
    rank = min(actual.dim(), expected.dim())
    return (
        actual.mean(1) if actual.dim() > rank else actual,
        expected.mean(1) if expected.dim() > rank else expected,
    )


def _largest(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
