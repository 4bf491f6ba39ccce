"""What a target can do beside the plain call: masks, causality, weights, scale. Each is tried."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import signature_of
from attncheck.targets.calling import parameters_of
from attncheck.targets.documentation import documented, documented_ranks, tells_ranks_apart
from attncheck.targets.found import Found, FoundAdapter
from attncheck.targets.hiding import hides
from attncheck.targets.layouts import LAYOUT_OPTIONS
from attncheck.targets.masks import MaskForm, forms
from attncheck.targets.names import BIASES, CAUSAL, NEED_WEIGHTS, SCALE, SOFT_CAP, ZERO, is_mask, is_padding
from attncheck.targets.trying import SIZE_SETS, Try, agrees, attempt, case_for, instance_of, subject_of
from attnref import Mechanism

# Sizes at which many a mix-up of axes goes unseen.
COINCIDENT = {"batch": 3, "heads": 3, "q_len": 5, "kv_len": 5}


def with_features(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with everything that its call's other arguments offer, and notes that say so."""
    found = _with_causal(found, target, mechanism)
    found = _with_padding(_with_mask(found, target, mechanism), target, mechanism)
    found = _with_bias(found, target, mechanism)
    found = _with_dropout(found, target, mechanism)
    found = _with_switch(found, target, mechanism, "scale", SCALE, 0.3)
    found = _with_switch(found, target, mechanism, "soft_cap", SOFT_CAP, 2.0)
    found = _with_weights(found, target, mechanism)
    found = _with_exclusive(found, target, mechanism)
    found = _with_documentation(found, target)
    return replace(found, notes=notes_of(found))


def _with_documentation(found: Found, target: Any) -> Found:
    """The layout as a convention, and what the target itself says of its conventions."""
    layout = LAYOUT_OPTIONS.get(found.result_layout)
    if layout is not None:
        found = replace(found, conventions={**found.conventions, "layout": layout})
    mask = found.mask.argument if found.mask else None
    return replace(
        found, documented=documented(target, mask, headed=layout in ("heads_first", "length_first"))
    )


def function_of(target: Any) -> Callable[..., Any]:
    """What is called: a module's forward, or the function itself."""
    if isinstance(target, nn.Module) or (isinstance(target, type) and issubclass(target, nn.Module)):
        return target.forward
    return target.__call__ if isinstance(target, type) else target


def raw_result(found: Found, target: Any, case: Case) -> Any:
    """What the target itself returns, before anything is picked from it."""
    adapter = FoundAdapter(found, _Tapped(target))
    ask = subject_of(found, adapter.mechanism).ask(case)
    try:
        built = instance_of(FoundAdapter(found, target), ask)
        tap = _Tap(built)
        inputs = {n: make(r) for n, r in ask.inputs.items()}
        with torch.no_grad():
            adapter.call(tap, inputs, ask.options)
    except Exception:
        return getattr(locals().get("tap"), "result", None)
    return tap.result


class _Tapped:
    """Stands in for a target that is not called through the adapter."""

    def __init__(self, target: Any) -> None:
        self.target = target


class _Tap:
    """Calls an instance and keeps what it returned."""

    def __init__(self, built: Any) -> None:
        self._built = built
        self.result: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.result = self._built(*args, **kwargs)
        return self.result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built, name)


def _case(found: Found, mechanism: Mechanism, **fields: Any) -> Case | None:
    """A case at the first sizes that are legal; the ones the guess was found at come first."""
    for sizes in SIZE_SETS:
        case = case_for(found, mechanism, sizes, **dict(fields))
        if case is not None:
            return case
    return None


def _unused(found: Found, target: Any) -> list[inspect.Parameter]:
    used = {a.name for a in found.call} | {text.split("=")[0] for text in found.switches.values()}
    return [p for p in parameters_of(function_of(target)) if p.name not in used and p.name != "self"]


def _option(mechanism: Mechanism, name: str) -> bool:
    return any(o.name == name for o in mechanism.contract.options)


def _with_causal(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """A causal switch of the call or of the constructor, and where its diagonal starts."""
    if not _option(mechanism, "causal"):
        return found
    by_constructor = "causal" in found.takes
    argument = next(
        (p for p in _unused(found, target) if p.name.lower() in CAUSAL and p.default is not p.empty), None
    )
    if argument is not None and not by_constructor:
        tried = replace(
            found,
            switches={**found.switches, "causal": f"{argument.name}=causal"},
            takes=(*found.takes, "causal"),
        )
        if _runs(tried, target, mechanism, {"causal": True}):
            found, by_constructor = tried, True
    return _with_alignment(found, target, mechanism) if by_constructor else found


def _runs(found: Found, target: Any, mechanism: Mechanism, options: dict[str, Any]) -> bool:
    case = _case(found, mechanism, options=options)
    return case is not None and attempt(found, target, case).ran


def _with_alignment(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Fix the alignment that explains the causal output for more keys than queries."""
    if "kv_len" not in {a for n in found.inputs.values() for a in signature_of(mechanism)[n[0]].axes}:
        return found
    fitting = []
    for alignment in ("upper_left", "lower_right"):
        tried = replace(found, fixed={**found.fixed, "alignment": alignment})
        case = _case(tried, mechanism, options={"causal": True})
        if case is not None and agrees(attempt(tried, target, case).gap):
            fitting.append(alignment)
    if len(fitting) == 1:
        conventions = {**found.conventions, "causal_alignment": fitting[0]}
        return replace(found, fixed={**found.fixed, "alignment": fitting[0]}, conventions=conventions)
    return replace(found, fixed={**found.fixed, "alignment": "upper_left"})


def _with_mask(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The form of mask under which the output is the masked reference's, or the nearest."""
    candidates = list(_mask_forms(found, target, mechanism))
    ranked: list[tuple[float, int, Found]] = []
    for index, form in enumerate(candidates):
        tried = _masked(found, form)
        trial = _try_mask(tried, target, mechanism, form)
        if trial is None or not trial.ran:
            continue
        if agrees(trial.gap):
            spoken = _of_documented_rank(candidates, form, target)
            if spoken is not form:
                return _with_polarity(_masked(found, spoken), spoken)
            return _with_polarity(_also_per_query(tried, form, target, mechanism), form)
        ranked.append((trial.gap, index, tried))
    if not ranked:
        return _with_mask_at_coincidences(found, target, mechanism, candidates)
    # None agrees: a mistake in the masking, or in everything. The first form that hides is judged,
    # or the nearest.
    ranked.sort(key=lambda r: (round(r[0], 6), r[1]))
    hiding = [r for r in sorted(ranked, key=lambda r: r[1]) if hides(r[2], target, mechanism)]
    _, index, nearest = (hiding or ranked)[0]
    return _with_polarity(nearest, candidates[index])


def _with_padding(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """A second argument by name that hides keys from every query: the nearest of its forms."""
    if found.mask is None or found.mask.maskings or found.mask.role != "mask":
        return found
    ranked: list[tuple[float, int, Found]] = []
    for index, form in enumerate(_mask_forms(found, target, mechanism)):
        if form.argument == found.mask.argument or not form.maskings or not is_padding(form.argument):
            continue
        tried = replace(found, padding=form)
        case = _case(tried, mechanism, masking="padding_mask")
        trial = attempt(tried, target, case) if case is not None else None
        if trial is not None and trial.ran:
            ranked.append((round(trial.gap, 6), index, tried))
    return min(ranked, key=lambda r: r[:2])[2] if ranked else found


def _of_documented_rank(candidates: list[MaskForm], form: MaskForm, target: Any) -> MaskForm:
    """The form that agrees, or one of the rank that is documented, if no form of that rank agrees."""
    ranks = documented_ranks(target, form.argument)
    alike = [
        c
        for c in candidates
        if c.argument == form.argument and c.rank in ranks and c.polarity == form.polarity
    ]
    return form if form.rank in ranks or not alike else min(alike, key=lambda c: c.folded)


def _with_mask_at_coincidences(
    found: Found, target: Any, mechanism: Mechanism, candidates: list[MaskForm]
) -> Found:
    """A mask that no call can take unless sizes coincide, or lengths by name: for the judge to say."""
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
    spoken = next((f for f in candidates if f.polarity == "lengths" and "len" in f.argument), None)
    return _masked(found, spoken) if spoken else found


def _also_per_query(found: Found, form: MaskForm, target: Any, mechanism: Mechanism) -> Found:
    """The same with a length for every query too, if calls with such lengths return."""
    if form.role != "valid_lens" or form.polarity != "lengths":
        return found
    wider = replace(form, axes=("batch", "q_len"))
    tried = replace(found, mask=wider)
    case = _case(tried, mechanism, masking="random_mask")
    if case is not None and attempt(tried, target, case).ran:
        return tried
    if not tells_ranks_apart(target, form.argument):
        return found
    # It means to take such lengths, and takes them where sizes coincide.
    case = case_for(tried, mechanism, COINCIDENT, masking="random_mask")
    return tried if case is not None and attempt(tried, target, case).ran else found


def _masked(found: Found, form: MaskForm) -> Found:
    return replace(found, mask=form, takes=(*found.takes, form.role))


def _with_polarity(found: Found, form: MaskForm) -> Found:
    return replace(found, conventions={**found.conventions, "mask_polarity": form.polarity.replace(" ", "_")})


def _mask_forms(found: Found, target: Any, mechanism: Mechanism) -> Iterator[MaskForm]:
    signature = signature_of(mechanism)
    roles = [t for t in signature.inputs if t.optional and t.name in ("mask", "valid_lens")]
    taken = {a.name for a in found.call if a.constant == "None"}
    arguments = [p.name for p in _unused(found, target) if is_mask(p.name)]
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
    for axes in (("batch", "1", "kv_len"), ("batch", "kv_len")):
        for polarity in ("true attends", "true ignores", "additive", "one attends"):
            yield MaskForm(argument, role, axes, polarity)


def _try_mask(found: Found, target: Any, mechanism: Mechanism, form: MaskForm) -> Try | None:
    masking = "padding_mask" if form.maskings or form.role == "valid_lens" else "random_mask"
    causal = bool(found.fixed.get("causal"))
    case = _case(found, mechanism, masking="padding_mask" if causal else masking)
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


def _with_bias(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Whether the mask's argument takes numbers that are added to the logits, or another one does.

    An argument through which -inf hides a key takes a bias: that any other number is added to the
    logits as well is then a law for it.
    """
    signature = signature_of(mechanism)
    if not any(t.name == "bias" and t.optional for t in signature.inputs):
        return found
    own = next((p.name for p in _unused(found, target) if p.name.lower() in BIASES), None)
    argument = own or (found.mask.argument if found.mask else None)
    if argument is None or (found.mask and found.mask.folded):
        return found
    tried = replace(found, biased=argument, takes=(*found.takes, "bias"))
    if own is None and found.mask is not None:
        hiding = replace(tried, mask=replace(found.mask, polarity="additive"))
        torch_like = {"attn_mask", "is_causal"} <= {p.name for p in parameters_of(function_of(target))}
        trial = _try_mask(hiding, target, mechanism, hiding.mask) if hiding.mask else None
        if not torch_like and (trial is None or not agrees(trial.gap)):
            return found
    coincident = case_for(tried, mechanism, COINCIDENT, options={"bias": True})
    runs = _runs(tried, target, mechanism, {"bias": True}) or (
        # A bias by name that is taken where lengths are equal is meant to be taken everywhere.
        own is not None and coincident is not None and attempt(tried, target, coincident).ran
    )
    return tried if runs else found


def _with_dropout(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Dropout among the arguments of the call, a rate or a module, or in a configuration that is heeded."""
    if found.config and "dropout" in found.takes and not _heeds_dropout(found, target):
        found = replace(found, takes=tuple(t for t in found.takes if t != "dropout"))
    argument = next((p for p in _unused(found, target) if p.name.lower() in ZERO), None)
    if argument is None or "dropout" in found.takes or isinstance(argument.default, bool):
        return found
    for expression in ("dropout", "torch.nn.Dropout(dropout)"):
        switches = {**found.switches, "dropout": f"{argument.name}={expression}"}
        tried = replace(found, switches=switches, takes=(*found.takes, "dropout"))
        if _runs(tried, target, mechanism, {"dropout": 0.375}):
            return tried
    return found


def _heeds_dropout(found: Found, target: Any) -> bool:
    """Whether a module of the target drops at the rate that its configuration names."""
    case = _case(found, FoundAdapter(found, target).mechanism)
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
    argument = next((p for p in _unused(found, target) if p.name.lower() in names), None)
    if argument is None:
        return found
    tried = replace(
        found, switches={**found.switches, option: f"{argument.name}={option}"}, takes=(*found.takes, option)
    )
    return tried if _runs(tried, target, mechanism, {option: value}) else found


def _with_exclusive(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Whether mask and causality, each of which runs alone, are refused together."""
    if found.mask is None or "causal" not in found.takes:
        return found
    case = _case(found, mechanism, options={"causal": True}, masking="padding_mask")
    if case is None or attempt(found, target, case).ran:
        return found
    return replace(found, exclusive=(found.mask.role, "causal"))


def _with_weights(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """Where the attention weights come back, after asking for them if there is a switch."""
    outputs = {t.name for t in signature_of(mechanism).outputs}
    if "weights" not in outputs:
        return found
    asked = found
    argument = next((p for p in _unused(found, target) if p.name.lower() in NEED_WEIGHTS), None)
    if argument is not None:
        asked = replace(
            found,
            switches={**found.switches, "need_weights": f"{argument.name}=need_weights"},
            takes=(*found.takes, "need_weights"),
        )
    case = _case(asked, mechanism, options={"need_weights": True})
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
    for place, tensor in _tensors_in(raw_result(asked, target, case)):
        if place == asked.result and place != "":
            continue
        if tuple(tensor.shape) == per_head:
            return _returning(asked, place, "per_head")
        if averaged is not None and tuple(tensor.shape) == averaged:
            return _returning(asked, place, "averaged")
    return found


def _returning(found: Found, place: str, how: str) -> Found:
    result = found.result or "0"
    return replace(
        found,
        weights=place,
        result=result if place.isdigit() else found.result,
        conventions={**found.conventions, "weights_returned": how},
    )


def _tensors_in(raw: Any) -> list[tuple[str, Tensor]]:
    if isinstance(raw, (tuple, list)):
        return [(str(i), part) for i, part in enumerate(raw) if isinstance(part, Tensor)]
    if isinstance(raw, dict):
        return [(str(k), part) for k, part in raw.items() if isinstance(part, Tensor)]
    return []


def notes_of(found: Found) -> tuple[str, ...]:
    """Everything that was assumed, a line each, as the header prints it."""
    arguments = (
        ", ".join(f"{n}={e}" for n, e in found.arguments.items())
        if not found.config
        else f"{found.config}=namespace"
    )
    lines = [f"built as {found.qualname}({arguments})"] if found.is_class else []
    call = ", ".join(f"{a.name + '=' if a.name else ''}{a.tensor or a.constant}" for a in found.call)
    lines.append(f"called with ({call}), {found.result_layout or 'as the reference'}")
    if any(len(roles) > 1 for roles in found.inputs.values()):
        lines.append(
            "one tensor plays several roles: "
            + "; ".join(f"{n} is {', '.join(r)}" for n, r in found.inputs.items() if len(r) > 1)
        )
    if found.result:
        lines.append(f"the output is part {found.result!r} of what comes back")
    if found.mask:
        lines.append(f"mask: {found.mask.argument} ({', '.join(found.mask.axes)}), {found.mask.polarity}")
    if found.padding:
        form = found.padding
        lines.append(
            f"keys hidden from every query: {form.argument} ({', '.join(form.axes)}), {form.polarity}"
        )
    if found.biased:
        lines.append(f"bias: {found.biased}, added to the logits")
    if found.placements:
        lines.append(
            "weights: "
            + "; ".join(
                f"{p.target} = {', '.join(p.roles)}{' as ' + p.pattern if p.pattern else ''}"
                for p in found.placements
            )
        )
    for norm in found.norms:
        lines.append(f"{' and '.join(norm.places)} through a {norm.kind} norm inside it, eps={norm.eps:g}")
    if found.absent:
        lines.append(f"without {', '.join(found.absent)}")
    if found.exclusive:
        lines.append(f"takes only one of {' and '.join(found.exclusive)} in a call")
    if found.refuses:
        lines.append("the constructor refuses sizes unless " + " and ".join(found.refuses))
    if found.unprojected:
        lines.append(f"without output layer where {found.unprojected}")
    if found.dtype != "float64":
        lines.append(f"computes in {found.dtype} alone, and is judged in it")
    if found.fixed:
        lines.append("always " + ", ".join(f"{n}={v}" for n, v in found.fixed.items()))
    if found.derived:
        lines.append(
            "sizes fixed by the target: " + ", ".join(f"{a} = {e}" for a, e in found.derived.items())
        )
    if found.certainty != "verified":
        lines.append(
            f"not verified: the output differs from the reference's; the adapter is {found.certainty}"
        )
    return tuple(lines)
