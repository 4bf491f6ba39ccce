"""A second way to hide keys: from every query of a sample, in an argument or a form of its own."""

from dataclasses import replace
from typing import Any

from attncheck.targets.documentation import tells_ranks_apart
from attncheck.targets.found import Found
from attncheck.targets.masking import mask_forms
from attncheck.targets.names import is_padding
from attncheck.targets.trying import attempt, first_case
from attnref import Mechanism


def with_padding(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """A second argument by name that hides keys from every query: the nearest of its forms. Or the same one."""
    if found.mask is None or found.mask.maskings or found.mask.role != "mask":
        return found
    ranked: list[tuple[float, int, Found]] = []
    for index, form in enumerate(mask_forms(found, target, mechanism)):
        if form.argument == found.mask.argument or not form.maskings or not is_padding(form.argument):
            continue
        tried = replace(found, padding=form)
        case = first_case(tried, mechanism, masking="padding_mask")
        trial = attempt(tried, target, case) if case is not None else None
        if trial is not None and trial.ran:
            ranked.append((round(trial.gap, 6), index, tried))
    return min(ranked, key=lambda r: r[:2])[2] if ranked else _also_of_samples(found, target, mechanism)


def _also_of_samples(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The same argument with a row of keys for each sample, if it counts axes and such calls return."""
    form = found.mask
    if form is None or form.folded or form.rank < 3 or not tells_ranks_apart(target, form.argument):
        return found
    tried = replace(found, padding=replace(form, axes=("batch", "kv_len"), lower=False))
    case = first_case(tried, mechanism, masking="padding_mask")
    return tried if case is not None and attempt(tried, target, case).ran else found
