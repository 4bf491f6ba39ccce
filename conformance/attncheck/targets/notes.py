"""What was assumed of a target, as lines for the header of its report."""

from attncheck.targets.found import Found


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
