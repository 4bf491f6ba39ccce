"""The checks: one claim each, one theme a file, all of our own in CHECKS, basics first."""

from functools import lru_cache

from attncheck.checks import (
    averages,
    branches,
    conventions,
    dead_rows,
    distances,
    dropout,
    extremes,
    forms,
    gates,
    gradient,
    hygiene,
    long,
    maps,
    masking,
    mode,
    order,
    pixels,
    positions,
    residual,
    scores,
    shape,
    squeeze,
    strides,
    transforms,
    value,
)
from attncheck.checks.check import Check as Check
from attncheck.model import installed

CHECKS: tuple[Check, ...] = (
    *shape.CHECKS,
    *order.CHECKS,
    *masking.CHECKS,
    *dead_rows.CHECKS,
    *conventions.CHECKS,
    *scores.CHECKS,
    *distances.CHECKS,
    *positions.CHECKS,
    *pixels.CHECKS,
    *gates.CHECKS,
    *branches.CHECKS,
    *squeeze.CHECKS,
    *residual.CHECKS,
    *averages.CHECKS,
    *value.CHECKS,
    *forms.CHECKS,
    *extremes.CHECKS,
    *long.CHECKS,
    *maps.CHECKS,
    *gradient.CHECKS,
    *hygiene.CHECKS,
    *strides.CHECKS,
    *mode.CHECKS,
    *transforms.CHECKS,
    *dropout.CHECKS,
)

BY_ID = {check.id: check for check in CHECKS}


@lru_cache(maxsize=1)
def every_check() -> tuple[Check, ...]:
    """Our own, then those of installed distributions. Raises UsageError if an entry point is broken."""
    found = installed.loaded(
        installed.CHECKS, lambda one: isinstance(one, Check), "an attncheck.checks.Check or several"
    )
    installed.refuse_known(installed.CHECKS, [check.id for check in found], BY_ID, "check")
    return (*CHECKS, *found)
