"""What was assumed of a target, as lines for the header of its report."""

from attncheck.targets.found import DICTIONARY, NAMESPACE, STACKED, Argument, Found
from attncheck.targets.gating import weighs

# Tensors of a header; a network has a hundred.
_MOST_WEIGHTS = 16

_KINDS = {NAMESPACE: "namespace", DICTIONARY: "dictionary"}


def notes_of(found: Found) -> tuple[str, ...]:
    """Everything that was assumed, a line each, as the header prints it."""
    return (*_of_the_call(found), *_of_the_masks(found), *_of_the_weights(found), *_of_the_limits(found))


def _of_the_call(found: Found) -> list[str]:
    given = ", ".join(f"{n}={e}" for n, e in found.arguments.items())
    arguments = f"{found.config}={_KINDS.get(found.made_as, found.made_as)}" if found.config else given
    lines = [f"built as {found.qualname}({arguments})"] if found.is_class else []
    call = ", ".join(f"{a.name + '=' if a.name else ''}{_given(a)}" for a in found.call)
    order = found.result_layout or "as the reference"
    others = [f"{a.tensor} with {a.layout}" for a in found.call if a.tensor and (a.layout or order) != order]
    lines.append(f"called with ({call}), {order}{': ' if others else ''}{', '.join(others)}")
    shared = [f"{n} is {', '.join(roles)}" for n, roles in found.inputs.items() if len(roles) > 1]
    if shared:
        lines.append("one tensor plays several roles: " + "; ".join(shared))
    if found.result:
        lines.append(f"the output is part {found.result!r} of what comes back")
    if found.gate:
        alone = "weights alone come" if weighs(found.mechanism) else "the gate alone comes"
        judged = (
            "they times the values are judged" if weighs(found.mechanism) else "the input times it is judged"
        )
        lines.append(f"{alone} back: {judged}")
    return lines


def _given(argument: Argument) -> str:
    stacked = f" {argument.pack}" if argument.pack.startswith(STACKED) else ""
    return (argument.tensor or argument.constant) + stacked


def _of_the_masks(found: Found) -> list[str]:
    lines = []
    if (mask := found.mask) is not None:
        lines.append(f"mask: {mask.argument} ({', '.join(mask.axes)}), {mask.polarity}")
    if (form := found.padding) is not None:
        lines.append(
            f"keys hidden from every query: {form.argument} ({', '.join(form.axes)}), {form.polarity}"
        )
    if found.biased:
        lines.append(f"bias: {found.biased}, added to the logits")
    return lines


def _of_the_weights(found: Found) -> list[str]:
    lines = []
    if found.placements:
        places = [
            f"{p.target} = {', '.join(p.roles)}{' as ' + p.pattern if p.pattern else ''}"
            for p in found.placements
        ]
        if len(places) > _MOST_WEIGHTS:
            left = len(places) - _MOST_WEIGHTS
            places[_MOST_WEIGHTS:] = [f"and {left} more (attncheck adapt writes them all)"]
        lines.append("weights: " + "; ".join(places))
    for norm in found.norms:
        lines.append(f"{' and '.join(norm.places)} through a {norm.kind} norm inside it, eps={norm.eps:g}")
    if found.absent:
        lines.append(f"without {', '.join(found.absent)}")
    if found.shared:
        lines.append(f"heads of keys and values, each for several of queries: {found.shared}")
    if found.neutral:
        lines.append(f"the identity, for want of a second output layer: {', '.join(found.neutral)}")
    if found.stilled:
        lines.append(f"dropout at a rate that nothing sets, so set to 0: {', '.join(found.stilled)}")
    if found.idle:
        lines.append(f"never used: {', '.join(found.idle)}")
    return lines


def _of_the_limits(found: Found) -> list[str]:
    lines = []
    if found.exclusive:
        lines.append(f"takes only one of {' and '.join(found.exclusive)} in a call")
    if found.refuses:
        lines.append(
            f"only sizes with {' and '.join(found.refuses)}: others are refused, rounded or padded otherwise"
        )
    if found.unprojected:
        lines.append(f"without output layer where {found.unprojected}")
    if found.dtype != "float64":
        lines.append(f"computes in {found.dtype} alone, and is judged in it")
    if found.fixed:
        lines.append("always " + ", ".join(f"{n}={v}" for n, v in found.fixed.items()))
    if found.derived:
        sizes = ", ".join(f"{a} = {e}" for a, e in found.derived.items())
        lines.append(f"sizes fixed by the target: {sizes}")
    if found.certainty != "verified":
        lines.append(
            f"not verified: the output differs from the reference's; the adapter is {found.certainty}"
        )
    return lines
