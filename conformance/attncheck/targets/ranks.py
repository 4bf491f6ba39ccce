"""The further ranks in which a target takes its inputs: keys of every query, say, beside keys that all share."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attncheck.targets.adapter import forms_of
from attncheck.targets.documentation import documented_ranks, documented_shapes, tells_ranks_apart
from attncheck.targets.found import Found
from attncheck.targets.trying import Try, agrees, attempt, first_case
from attnref import Mechanism

Form = Mapping[str, int]


def with_other_forms(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with every form in which the target is right, or that it speaks of."""
    forms = forms_of(mechanism)
    if not forms:
        return found
    own = {**forms[0], **found.ranks}
    others = [form for form in forms if form != own]
    tries = [_tried(found, target, mechanism, form) for form in others]
    right = [form for form, trial in zip(others, tries, strict=True) if trial and agrees(trial.gap)]
    meant = [
        form
        for form, trial in zip(others, tries, strict=True)
        if form not in right and _speaks_of(found, target, own, form, right, trial)
    ]
    return replace(found, also=(*right, *meant))


def _tried(found: Found, target: Any, mechanism: Mechanism, form: Form) -> Try | None:
    tried = replace(found, ranks=form)
    case = first_case(tried, mechanism)
    return attempt(tried, target, case) if case is not None else None


def _has_features(target: Any, name: str) -> bool:
    """Whether documentation says that an axis behind the points is of features: `(m,) or (m, d)`."""
    shapes = documented_shapes(target, name)
    return any(long[:-1] == short for short, long in itertools.permutations(shapes, 2))


def _speaks_of(
    found: Found, target: Any, own: Form, form: Form, right: list[Form], trial: Try | None
) -> bool:
    """Whether documentation names each rank that differs, or the source tells it apart and the call returns."""
    if len(set(form.values())) > 1:
        # What takes keys of every query may well take values of every query only.
        return False
    changed = {a.name: a.tensor for a in found.call if a.tensor in form and form[a.tensor] != own[a.tensor]}
    if any(_has_features(target, name) for name in changed):
        return False
    if all({own[role], form[role]} <= documented_ranks(target, name) for name, role in changed.items()):
        return True
    alone = [name for name, role in changed.items() if {**own, role: form[role]} in right]
    if trial is None or not trial.ran:
        return False
    # What reads some of them rightly, and gives an output of the right shape, means to read all.
    return (bool(alone) and math.isfinite(trial.gap)) or all(
        tells_ranks_apart(target, name) for name in changed if name not in alone
    )
