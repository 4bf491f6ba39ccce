"""Inputs of a call that its shortest form leaves out: named ones that it can have, and those that it has anyway."""

from dataclasses import replace
from typing import Any

from attncheck.targets.bench import Bench
from attncheck.targets.calling import callings
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.legal import of_one_size
from attncheck.targets.masking import COINCIDENT
from attncheck.targets.names import is_mask, roles_for
from attncheck.targets.parameters import parameters_of
from attncheck.targets.tapping import function_of
from attncheck.targets.trying import agrees, attempt, case_for, first_case, subject_of
from attnref import Mechanism


def with_named_inputs(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with every input that the target names, right, ignored or mixed up: that is for the judge to say."""
    if found.certainty != "verified":
        return found
    named = {parameter.name for parameter in parameters_of(function_of(target))}
    for calling in callings(function_of(target), mechanism):
        more = {argument.name for argument in calling.arguments} - {argument.name for argument in found.call}
        if not calling.by_name or calling.layout != found.result_layout or not more & named:
            continue
        tried = replace(found, inputs=calling.inputs, call=calling.arguments, ranks=calling.ranks)
        case = first_case(tried, mechanism)
        if len(calling.inputs) <= len(found.inputs) or case is None:
            continue
        trial = attempt(tried, target, case)
        if trial.ran or _mixes_up(tried, target, mechanism):
            return tried
    return found


def _mixes_up(found: Found, target: Any, mechanism: Mechanism) -> bool:
    """Whether calls with these inputs return where sizes coincide, and what they should not."""
    coincident = case_for(found, mechanism, COINCIDENT)
    if coincident is None:
        return False
    trial = attempt(found, target, coincident)
    return trial.ran and not agrees(trial.gap)


def with_inputs_left_out(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter that knows which inputs a call may leave out, as a context that is None then.

    Not where that has a mask of its own: which one counts then is another way to call it.
    """
    masks = [p.name for p in parameters_of(function_of(target)) if is_mask(p.name)]
    of_context = [name for name in masks if {"kv", "k"} & {*roles_for(name.lower().replace("mask", ""))}]
    if 0 < len(of_context) < len(masks) and not any("padding" in name for name in of_context):
        return found
    defaults = {p.name: p.default for p in parameters_of(function_of(target))}
    given = [a for a in found.call if a.tensor and not a.pack]
    spare = tuple(a.tensor for a in given[1:] if a.name and defaults.get(a.name, 0) is None)
    case = first_case(found, mechanism) if spare else None
    subject = subject_of(found, mechanism)
    same = of_one_size(subject, case) if case is not None else None
    if same is None:
        return found
    tried = replace(found, spare=spare)
    answer = Bench(FoundAdapter(tried, target)).perform(replace(subject.ask(same), scenario="left_out"))
    return found if answer.trouble else tried
