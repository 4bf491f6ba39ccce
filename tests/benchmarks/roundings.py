"""Errors in low precision, in roundings of the largest value: the reference's own, and how far the truth moves.

`python tests/benchmarks/roundings.py [MECHANISM …]` prints the median and the ninth decile over the cases of a run.
"""

import sys
from dataclasses import replace
from statistics import quantiles

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks.budget import moved_by_rounding
from attncheck.checks.oracle import expect, in_float64
from attncheck.checks.value import with_masks
from attncheck.engine.plan import cases
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.tensors import DTYPES
from attncheck.strategies.tolerance import ROUNDOFF, difference
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject

USUAL = ("scaled_dot_product", "multi_head", "kernel_regression", "cbam_block", "channel_self")


def main() -> None:
    for name in sys.argv[1:] or USUAL:
        subject = Subject(BY_ID[name], Reference(BY_ID[name]).interface)
        for dtype in ("float32", "bfloat16", "float16"):
            own, moved = zip(*_measured(subject, dtype), strict=True)
            print(f"{name:20} {dtype:9} own {_told(own)}   moved {_told(moved)}", flush=True)


def _measured(subject: Subject, dtype: str) -> list[tuple[float, float]]:
    """Both for each case, in roundings of that dtype."""
    kind, found = DTYPES[dtype], []
    for case in cases(CHECKS["keeps_half_precision"], subject, "default", 3):
        ask = subject.ask(replace(with_masks(subject, case), dtype=dtype))
        truth = expect(subject, in_float64(ask)).out
        own = difference(expect(subject, ask).out, truth).gap
        found.append((own / ROUNDOFF[kind], moved_by_rounding(subject, ask, kind, truth) / ROUNDOFF[kind]))
    return found


def _told(numbers: tuple[float, ...]) -> str:
    tenths = quantiles(numbers, n=10)
    return f"{tenths[4]:4.1f} {tenths[8]:5.1f}"


if __name__ == "__main__":
    main()
