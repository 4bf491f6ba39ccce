"""The checks: one claim each, one theme a file, all of them in CHECKS, basics first."""

from attncheck.checks import gradient, hygiene, masking, mode, order, scores, shape, value
from attncheck.checks.check import Check as Check

CHECKS: tuple[Check, ...] = (
    *shape.CHECKS,
    *order.CHECKS,
    *masking.CHECKS,
    *scores.CHECKS,
    *value.CHECKS,
    *gradient.CHECKS,
    *hygiene.CHECKS,
    *mode.CHECKS,
)

BY_ID = {check.id: check for check in CHECKS}
