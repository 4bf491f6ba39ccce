"""How a target is told which keys are hidden, and what is added to its logits. Each form is tried."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attncheck.model.case import Case
from attncheck.targets.adapter import signature_of
from attncheck.targets.ask import Ask
from attncheck.targets.bench import Bench
from attncheck.targets.documentation import (
    documented_ranks,
    documented_shapes,
    masks_all_heads_alike,
    takes_booleans,
    tells_ranks_apart,
)
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.hiding import hides
from attncheck.targets.masks import MaskForm, forms
from attncheck.targets.names import BIASES, is_mask
from attncheck.targets.parameters import parameters_of
from attncheck.targets.subject import Subject
from attncheck.targets.tapping import function_of
from attncheck.targets.trying import (
    Try,
    agrees,
    attempt,
    case_for,
    expected_of,
    first_case,
    gap_between,
    subject_of,
)
from attnref import Mechanism

# What documentation calls the axis of samples.
_SAMPLES = ("batch", "b", "n", "bs", "bsz", "batch_size")
# Sizes at which many a mix-up of axes goes unseen.
COINCIDENT = {"batch": 3, "heads": 3, "q_len": 5, "kv_len": 5}


def unused(found: Found, target: Any) -> list[inspect.Parameter]:
    used = {a.name for a in found.call} | {text.split("=")[0] for text in found.switches.values()}
    return [p for p in parameters_of(function_of(target)) if p.name not in used and p.name != "self"]


def runs_with(found: Found, target: Any, mechanism: Mechanism, options: dict[str, Any]) -> bool:
    case = first_case(found, mechanism, options=options)
    return case is not None and attempt(found, target, case).ran


def with_mask(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The form of mask under which the output is the masked reference's, or the nearest."""
    candidates = list(mask_forms(found, target, mechanism))
    ranked: list[tuple[float, int, Found]] = []
    for index, form in enumerate(candidates):
        tried = _masked(found, form)
        trial = try_mask(tried, target, mechanism, form)
        if trial is None or not trial.ran:
            continue
        if agrees(trial.gap):
            spoken = _of_documented_rank(candidates, form, target)
            if spoken is form:
                spoken = _of_every_head(found, form, target, mechanism)
            if spoken is form:
                spoken = _of_every_sample(found, form, target, mechanism)
            if spoken is form:
                spoken = _of_documented_booleans(candidates, form, target)
            if spoken is not form:
                return _with_polarity(_masked(found, spoken), spoken)
            also = _also_without_heads(
                _also_per_query(tried, form, target, mechanism), form, target, mechanism
            )
            return _with_polarity(also, form)
        ranked.append((trial.gap, index, tried))
    if not ranked:
        return _with_mask_at_coincidences(found, target, mechanism, candidates)
    # None agrees: a mistake in the masking, or in everything. The first form that hides is judged,
    # or the nearest. What takes samples and heads in one axis does so on purpose, and few do.
    ranked.sort(key=lambda r: (round(r[0], 6), r[1]))
    likely = sorted(ranked, key=lambda r: (candidates[r[1]].folded, r[1]))
    hiding = [r for r in likely if hides(r[2], target, mechanism)]
    _, index, nearest = (hiding or ranked)[0]
    return _with_polarity(nearest, candidates[index])


def _of_documented_rank(candidates: list[MaskForm], form: MaskForm, target: Any) -> MaskForm:
    """The form that agrees, or one of the rank that is documented, if no form of that rank agrees."""
    ranks = documented_ranks(target, form.argument)
    ranks |= {3} if masks_all_heads_alike(target, form.argument) else set()
    alike = [
        c
        for c in candidates
        if c.argument == form.argument and c.rank in ranks and c.polarity == form.polarity
    ]
    return form if form.rank in ranks or not alike else min(alike, key=lambda c: c.folded)


def _of_documented_booleans(candidates: list[MaskForm], form: MaskForm, target: Any) -> MaskForm:
    """The form that agrees, or the boolean one of its axes that is documented, where only numbers agree."""
    said = takes_booleans(target, form.argument) if form.polarity == "additive" else None
    alike = replace(form, polarity=(said or "").replace("_", " "))
    return alike if alike in candidates else form


def _of_every_head(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> MaskForm:
    """The form with a mask for each head, if such is taken and read as something else: that is for the judge."""
    if form.axes != ("batch", "1", "q_len", "kv_len") or documented_ranks(target, form.argument):
        return form
    wider = replace(form, axes=("batch", "heads", "q_len", "kv_len"))
    trial = try_mask(_masked(found, wider), target, mechanism, wider)
    return wider if trial is not None and trial.ran else form


def _of_every_sample(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> MaskForm:
    """The form with a mask for each sample, if such is taken and read as something else: that is for the judge."""
    if form.axes != ("q_len", "kv_len"):
        return form
    wider = replace(form, axes=("batch", "q_len", "kv_len"))
    trial = try_mask(_masked(found, wider), target, mechanism, wider)
    return wider if trial is not None and trial.ran else form


def _with_mask_at_coincidences(
    found: Found, target: Any, mechanism: Mechanism, candidates: list[MaskForm]
) -> Found:
    """A mask that no call can take unless sizes coincide, or lengths by name: for the judge to say."""
    returning: list[MaskForm] = []
    for form in candidates:
        tried = _masked(found, form)
        case = case_for(
            tried, mechanism, COINCIDENT, masking="padding_mask" if form.maskings else "random_mask"
        )
        trial = attempt(tried, target, case) if case is not None else None
        if trial is None or not trial.ran:
            continue
        if agrees(trial.gap) or form.rank in documented_ranks(target, form.argument):
            return _with_polarity(tried, form)
        returning += [form] if "mask" in form.argument else []
    spoken = next((f for f in candidates if f.polarity == "lengths" and "len" in f.argument), None)
    if spoken is not None:
        return _masked(found, spoken)
    return _with_polarity(_masked(found, returning[0]), returning[0]) if returning else found


def _also_per_query(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> Found:
    """The same with a length for every query too, if calls with such lengths return what has the output's shape."""
    if form.role != "valid_lens":
        return found
    if form.polarity != "lengths":
        return _with_rows_of_lengths(found, form, target, mechanism)
    wider = replace(form, axes=("batch", "q_len"))
    tried = replace(found, mask=wider)
    case = first_case(tried, mechanism, masking="random_mask")
    if case is not None and math.isfinite(attempt(tried, target, case).gap):
        return tried
    if not tells_ranks_apart(target, form.argument):
        return found
    # It means to take such lengths, and takes them where sizes coincide.
    case = case_for(tried, mechanism, COINCIDENT, masking="random_mask")
    return tried if case is not None and attempt(tried, target, case).ran else found


def _with_rows_of_lengths(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> Found:
    """A mask of samples as one with a row for every query, if it is read so or is said to have such rows."""
    if form.axes != ("batch", "1", "kv_len"):
        return found
    shapes = documented_shapes(target, form.argument)
    tried = replace(found, mask=replace(form, axes=("batch", "q_len", "kv_len")))
    case = first_case(tried, mechanism, masking="random_mask")
    if case is None or any(axes[1:-1] == ["1"] for axes in shapes):
        return found
    trial = attempt(tried, target, case)
    return tried if trial.ran and (agrees(trial.gap) or any(len(axes) == 3 for axes in shapes)) else found


def _also_without_heads(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> Found:
    """The same with masks that lack the heads axis, if they are said to be those of samples or read so where sizes differ."""
    case = first_case(found, mechanism, masking="random_mask")
    if form.axes != ("batch", "heads", "q_len", "kv_len") or form.folded or case is None:
        return found
    tried = replace(found, mask=replace(form, lower=True))
    subject = subject_of(tried, mechanism)
    ask = without_heads(subject, subject.ask(case), case)
    answer = Bench(FoundAdapter(tried, target)).perform(ask)
    fits = answer.trouble is None and agrees(gap_between(answer.out, expected_of(subject, ask)["out"]))
    said = any(
        len(axes) == 3 and axes[0].lower() in _SAMPLES for axes in documented_shapes(target, form.argument)
    )
    return tried if fits or said else found


def without_heads(subject: Subject, ask: Ask, case: Case) -> Ask:
    """The question with a mask of the lowest rank that the reference takes."""
    dims = min(subject.optional["mask"].ranks, key=len)
    lower = replace(ask.inputs["mask"], shape=tuple(dim.size(case.names) for dim in dims))
    return replace(ask, inputs={**ask.inputs, "mask": lower})


def _masked(found: Found, form: MaskForm) -> Found:
    return replace(found, mask=form, takes=(*found.takes, form.role))


def _with_polarity(found: Found, form: MaskForm) -> Found:
    return replace(found, conventions={**found.conventions, "mask_polarity": form.polarity.replace(" ", "_")})


def mask_forms(found: Found, target: Any, mechanism: Mechanism) -> Iterator[MaskForm]:
    """The forms in which its arguments that may hide keys may take a mask, the likeliest first."""
    signature = signature_of(mechanism)
    roles = [t for t in signature.inputs if t.optional and t.name in ("mask", "valid_lens")]
    taken = [a.name for a in found.call if a.constant]
    arguments = [p.name for p in unused(found, target) if is_mask(p.name)]
    arguments += [n for n in taken if is_mask(n)]
    # An argument that speaks of both queries and keys says more than one that speaks of keys.
    arguments.sort(key=lambda n: "padding" in n or "key" in n)
    for argument in arguments:
        for role in roles:
            if role.kind == "bool":
                yield from forms(argument, role.name, role.axes)
            elif not any(r.kind == "bool" for r in roles):
                yield from _length_forms(argument, role.name)


def _length_forms(argument: str, role: str) -> Iterator[MaskForm]:
    """Lengths as they are, or spelled out as a mask."""
    yield MaskForm(argument, role, ("batch",), "lengths")
    for axes in (("batch", "1", "kv_len"), ("batch", "kv_len"), ("batch", "q_len", "kv_len")):
        for polarity in ("true attends", "true ignores", "additive", "one attends"):
            yield MaskForm(argument, role, axes, polarity)


def try_mask(found: Found, target: Any, mechanism: Mechanism, form: MaskForm) -> Try | None:
    """What comes of handing over a mask in a form; None if there is no case for it."""
    masking = "padding_mask" if form.maskings or form.role == "valid_lens" else "random_mask"
    causal = bool(found.fixed.get("causal"))
    case = first_case(found, mechanism, masking="padding_mask" if causal else masking)
    if case is None:
        return None
    trial = attempt(found, target, case)
    if trial.ran and agrees(trial.gap):
        # Equal batch and heads, or equal lengths, would let two forms pass: other sizes decide.
        changed = case_for(
            found, mechanism, {"batch": 4, "heads": 2, "model_dim": 6, "head_dim": 3}, masking=case.masking
        )
        again = attempt(found, target, changed) if changed is not None else trial
        return again if again.ran else trial
    return trial


def with_bias(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Whether the mask's argument takes numbers that are added to the logits, or another one does.

    An argument through which -inf hides a key takes a bias: that any other number is added to the
    logits as well is then a law for it.
    """
    signature = signature_of(mechanism)
    if not any(t.name == "bias" and t.optional for t in signature.inputs):
        return found
    own = next((p.name for p in unused(found, target) if p.name.lower() in BIASES), None)
    argument = own or (found.mask.argument if found.mask else None)
    if argument is None or (found.mask and found.mask.folded):
        return found
    tried = replace(found, biased=argument, takes=(*found.takes, "bias"))
    if own is None and found.mask is not None:
        hiding = replace(tried, mask=replace(found.mask, polarity="additive"))
        torch_like = {"attn_mask", "is_causal"} <= {p.name for p in parameters_of(function_of(target))}
        trial = try_mask(hiding, target, mechanism, hiding.mask) if hiding.mask else None
        if not torch_like and (trial is None or not agrees(trial.gap)):
            return found
    coincident = case_for(tried, mechanism, COINCIDENT, options={"bias": True})
    runs = runs_with(tried, target, mechanism, {"bias": True}) or (
        # A bias by name that is taken where lengths are equal is meant to be taken everywhere.
        own is not None and coincident is not None and attempt(tried, target, coincident).ran
    )
    return tried if runs else found
