"""What a target can do beside the plain call: masks, causality, weights, scale. Each is tried."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from attncheck.model.case import Case
from attncheck.targets.adapter import parts_of, signature_of
from attncheck.targets.configuring import offered
from attncheck.targets.documentation import documented, waives_causality
from attncheck.targets.found import Argument, Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.layouts import LAYOUT_OPTIONS
from attncheck.targets.masking import runs_with, unused, with_bias, with_mask
from attncheck.targets.names import (
    CAUSAL,
    CONFIGS,
    NEED_WEIGHTS,
    PERHAPS_CAUSAL,
    SCALE,
    SOFT_CAP,
    TRAINING,
    ZERO,
)
from attncheck.targets.notes import notes_of
from attncheck.targets.padding import with_padding
from attncheck.targets.ranks import with_other_forms
from attncheck.targets.stilling import with_stilled
from attncheck.targets.tapping import raw_result
from attncheck.targets.trying import agrees, attempt, expected_of, first_case, gap_between, subject_of
from attnref import Mechanism

# Where and in which dtype weights are made, which the judge says later.
_PLACES = ("device", "dtype")


def with_features(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with everything that its call's other arguments offer, and notes that say so."""
    found = _with_causal(found, target, mechanism)
    found = with_padding(with_mask(found, target, mechanism), target, mechanism)
    found = with_bias(found, target, mechanism)
    found = with_stilled(_with_dropout(found, target, mechanism), target, mechanism)
    found = _with_switch(found, target, mechanism, "scale", SCALE, 0.3)
    found = _with_switch(found, target, mechanism, "soft_cap", SOFT_CAP, 2.0)
    found = _with_weights(found, target, mechanism)
    found = _with_exclusive(found, target, mechanism)
    found = with_other_forms(found, target, mechanism)
    found = _with_documentation(found, target)
    return replace(
        found, notes=(*notes_of(found), *_left_at_defaults(found, target), *_left_alone(found, target))
    )


def _left_at_defaults(found: Found, target: Any) -> list[str]:
    """A line on the constructor's options that nothing was made of: what else they may be is not judged."""
    options = (offered(target, found.config) or []) if found.is_class else []
    known = {*found.arguments, *_PLACES}
    left = [p.name for p in options if p.default is not p.empty and p.name not in known]
    return [f"left at its default, so not judged otherwise: {', '.join(left)}"] if left else []


def _left_alone(found: Found, target: Any) -> list[str]:
    """A line on the arguments of the call that nothing was made of: what they do is not judged."""
    forms = [form.argument for form in (found.mask, found.padding) if form is not None]
    known = {*forms, found.biased}
    if any(not argument.name for argument in found.call):
        return []
    left = [p.name for p in unused(found, target) if p.name not in known]
    return [f"never handed over, so not judged: {', '.join(left)}"] if left else []


def _with_documentation(found: Found, target: Any) -> Found:
    """The layout as a convention, and what the target itself says of its conventions."""
    layout = LAYOUT_OPTIONS.get(found.result_layout)
    if layout is not None:
        found = replace(found, conventions={**found.conventions, "layout": layout})
    if found.certainty == "guessed":
        # Answers that no adapter explains contradict nothing.
        return found
    mask = found.mask.argument if found.mask else None
    return replace(
        found, documented=documented(target, mask, headed=layout in ("heads_first", "length_first"))
    )


def _option(mechanism: Mechanism, name: str) -> bool:
    return any(o.name == name for o in mechanism.contract.options)


def _with_causal(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """A causal switch of the call or of the constructor, and where its diagonal starts."""
    if not _option(mechanism, "causal"):
        return found
    found = _without_vague_causality(found, target, mechanism)
    by_constructor = "causal" in found.takes
    argument = next(
        (p for p in unused(found, target) if p.name.lower() in CAUSAL and p.default is not p.empty), None
    )
    if argument is not None and not by_constructor:
        tried = replace(
            found,
            switches={**found.switches, "causal": f"{argument.name}=causal"},
            takes=(*found.takes, "causal"),
        )
        if runs_with(tried, target, mechanism, {"causal": True}):
            found, by_constructor = tried, True
    return _with_alignment(found, target, mechanism) if by_constructor else found


def _without_vague_causality(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Leave arguments alone that are causal by one meaning of their name only, if they turn out not to be."""
    # Beside a configuration it is a hint to the kernel which that names.
    hints = ("is_causal",) if set(found.arguments) & set(CONFIGS) else ()
    told = (*PERHAPS_CAUSAL, *hints)
    vague = [n for n, e in found.arguments.items() if e == "causal" and n.lower() in told]
    case = first_case(found, mechanism, options={"causal": True})
    if not vague or case is None or agrees(attempt(found, target, case).gap):
        return found
    arguments = {n: e for n, e in found.arguments.items() if n not in vague}
    causal = "causal" in arguments.values()
    takes = found.takes if causal else tuple(t for t in found.takes if t != "causal")
    left = replace(found, arguments=arguments, takes=takes)
    plain = first_case(left, mechanism)
    return left if plain is not None and attempt(left, target, plain).ran else found


def _with_alignment(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Fix the alignment that explains the causal output for more keys than queries."""
    if "kv_len" not in {a for n in found.inputs.values() for a in signature_of(mechanism)[n[0]].axes}:
        return found
    fitting = []
    for alignment in ("upper_left", "lower_right"):
        tried = replace(found, fixed={**found.fixed, "alignment": alignment})
        case = first_case(tried, mechanism, options={"causal": True})
        if case is not None and agrees(attempt(tried, target, case).gap):
            fitting.append(alignment)
    if len(fitting) == 1:
        conventions = {**found.conventions, "causal_alignment": fitting[0]}
        return replace(found, fixed={**found.fixed, "alignment": fitting[0]}, conventions=conventions)
    return replace(found, fixed={**found.fixed, "alignment": "upper_left"})


def _with_dropout(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Dropout among the arguments of the call, a rate or a module, or in a configuration that is heeded."""
    if found.config and "dropout" in found.takes and not _heeds_dropout(found, target):
        found = replace(found, takes=tuple(t for t in found.takes if t != "dropout"))
    argument = next((p for p in unused(found, target) if p.name.lower() in ZERO), None)
    if argument is None or "dropout" in found.takes or isinstance(argument.default, bool):
        return found
    for expression in ("dropout", "torch.nn.Dropout(dropout)"):
        switches = {**found.switches, "dropout": f"{argument.name}={expression}"}
        tried = replace(_training(found, target), switches=switches, takes=(*found.takes, "dropout"))
        if runs_with(tried, target, mechanism, {"dropout": 0.375}):
            return tried
    return found


def _training(found: Found, target: Any) -> Found:
    """A function as it is called in training, where it is told so by a flag: what it drops is the rate's to say."""
    flags = [p.name for p in unused(found, target) if p.name.lower() in TRAINING and p.default is False]
    return replace(found, call=(*found.call, *(Argument(name, constant="True") for name in flags)))


def _heeds_dropout(found: Found, target: Any) -> bool:
    """Whether a module of the target drops at the rate that its configuration names."""
    case = first_case(found, FoundAdapter(found, target).mechanism)
    if case is None:
        return False
    try:
        built = FoundAdapter(found, target).build({**case.names, "dropout": 0.375})
    except Exception:
        return False
    return isinstance(built, nn.Module) and any(
        isinstance(kept, float) and kept == 0.375 for m in built.modules() for kept in vars(m).values()
    )


def _with_switch(
    found: Found, target: Any, mechanism: Mechanism, option: str, names: tuple[str, ...], value: float
) -> Found:
    """An option of the call by one of its usual names, if a call with it runs."""
    if not _option(mechanism, option) or option in found.takes:
        return found
    argument = next((p for p in unused(found, target) if p.name.lower() in names), None)
    if argument is None:
        return found
    tried = replace(
        found, switches={**found.switches, option: f"{argument.name}={option}"}, takes=(*found.takes, option)
    )
    return tried if runs_with(tried, target, mechanism, {option: value}) else found


def _with_exclusive(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Whether mask and causality, each of which runs alone, are refused together, or said to exclude each other."""
    if found.mask is None or "causal" not in found.takes:
        return found
    if waives_causality(target):
        return replace(found, exclusive=(found.mask.role, "causal"))
    case = first_case(found, mechanism, options={"causal": True}, masking="padding_mask")
    if case is None or attempt(found, target, case).ran:
        return found
    return replace(found, exclusive=(found.mask.role, "causal"))


def _with_weights(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Where the attention weights come back, after asking for them if there is a switch."""
    outputs = {t.name for t in signature_of(mechanism).outputs}
    if "weights" not in outputs:
        return found
    asked = found
    argument = next((p for p in unused(found, target) if p.name.lower() in NEED_WEIGHTS), None)
    if argument is not None:
        asked = replace(
            found,
            switches={**found.switches, "need_weights": f"{argument.name}=need_weights"},
            takes=(*found.takes, "need_weights"),
        )
    case = first_case(asked, mechanism, options={"need_weights": True})
    if case is None:
        return found
    subject = subject_of(asked, mechanism)
    names = {**case.names, **asked.fixed}
    try:
        per_head = tuple(d.size(names) for d in subject.signature["weights"].dims)
    except NameError:
        # Its axes have no sizes under these options: the mechanism returns none then.
        return found
    averaged = (per_head[0], *per_head[2:]) if len(per_head) == 4 else None
    raw = raw_result(asked, target, case)
    if isinstance(raw, Tensor):
        return found
    for place, tensor in parts_of(raw).items():
        if not isinstance(tensor, Tensor) or (place == asked.result and place != ""):
            continue
        if _are_logits(tensor, asked, mechanism, case):
            continue
        if tuple(tensor.shape) == per_head:
            return _returning(asked, place, "per_head")
        if averaged is not None and tuple(tensor.shape) == averaged:
            return _returning(asked, place, "averaged")
    return found


def _are_logits(tensor: Tensor, found: Found, mechanism: Mechanism, case: Case) -> bool:
    """Whether what comes back beside the output are no weights, but what these are the softmax of."""
    subject = subject_of(found, mechanism)
    weights = expected_of(subject, subject.ask(case)).get("weights")
    if weights is None or weights.numel() != tensor.numel() or tensor.shape[-1:] != weights.shape[-1:]:
        return False
    # A head without an axis is still a head.
    return agrees(gap_between(tensor.to(weights.dtype).softmax(-1).reshape(weights.shape), weights))


def _returning(found: Found, place: str, how: str) -> Found:
    result = found.result or "0"
    return replace(
        found,
        weights=place,
        result=result if place.isdigit() else found.result,
        conventions={**found.conventions, "weights_returned": how},
    )
