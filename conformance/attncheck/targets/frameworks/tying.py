"""Functions that want values as wide as queries, and say so by refusing all others.

A torch function that does so breaks a law of its mechanism; in JAX it is the documented form of the
operator, whose arguments are checked before anything is computed.
"""

from dataclasses import replace
from typing import Any

from attncheck.targets.calling import callings
from attncheck.targets.features import with_features
from attncheck.targets.found import Found
from attncheck.targets.tapping import function_of
from attncheck.targets.trying import agrees, attempt, case_for, second_sizes
from attnref import Mechanism

_TIED = {"v_dim": "head_dim"}


def with_equal_widths(target: Any, name: str, mechanism: Mechanism) -> Found | None:
    """The adapter of a function that agrees with the reference where values are as wide as queries."""
    base = Found(mechanism.id, name, {}, (), is_class=False, derived=_TIED)
    for calling in callings(function_of(target), mechanism):
        tried = replace(
            base,
            inputs=calling.inputs,
            call=calling.arguments,
            result_layout=calling.layout,
            ranks=calling.ranks,
        )
        if _agrees(tried, target, mechanism):
            return with_features(tried, target, mechanism)
    return None


def _agrees(found: Found, target: Any, mechanism: Mechanism) -> bool:
    """Whether the target agrees with the reference at two sets of sizes."""
    cases = [case_for(found, mechanism, sizes) for sizes in ({}, second_sizes({}))]
    return all(case is not None and agrees(attempt(found, target, case).gap) for case in cases)
