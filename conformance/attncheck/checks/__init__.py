"""The checks: one claim each, one theme a file, all of them in CHECKS, basics first."""

from attncheck.checks import (
    averages,
    conventions,
    distances,
    dropout,
    extremes,
    forms,
    gates,
    gradient,
    hygiene,
    long,
    masking,
    mode,
    order,
    pixels,
    positions,
    residual,
    scores,
    shape,
    squeeze,
    transforms,
    value,
)
from attncheck.checks.check import Check as Check

CHECKS: tuple[Check, ...] = (
    *shape.CHECKS,
    *order.CHECKS,
    *masking.CHECKS,
    *conventions.CHECKS,
    *scores.CHECKS,
    *distances.CHECKS,
    *positions.CHECKS,
    *pixels.CHECKS,
    *gates.CHECKS,
    *squeeze.CHECKS,
    *residual.CHECKS,
    *averages.CHECKS,
    *value.CHECKS,
    *forms.CHECKS,
    *extremes.CHECKS,
    *long.CHECKS,
    *gradient.CHECKS,
    *hygiene.CHECKS,
    *mode.CHECKS,
    *transforms.CHECKS,
    *dropout.CHECKS,
)

BY_ID = {check.id: check for check in CHECKS}
