"""A proof in words: plain text for a console."""

from attncheck.shapes.expressions import both, conjuncts
from attncheck.shapes.paths import Path
from attncheck.shapes.proof import TRUST, Proof
from attncheck.shapes.question import ALL_SIZES, Sizes

# A table of more rows is a dump: nobody reads it, and the predicate says the same.
MOST_ROWS = 12


def describe(proof: Proof) -> str:
    """The verdict with its reason, the witnesses, the paths, and what had to be trusted."""
    lines = [*_verdict(proof), *_paths(proof)]
    if proof.scope:
        lines.append(f"  scope      {proof.scope}")
    if proof.paths:
        lines.append(f"  real runs  {proof.replayed}, {_agreement(proof)}")
        lines.append(f"  trusted    {TRUST}")
    return "\n".join(lines)


def _verdict(proof: Proof) -> list[str]:
    if proof.status == "proved":
        return [f"proved {ALL_SIZES}{_conditions(proof)}"]
    if proof.status == "open":
        return ["open: neither proved nor refuted", f"  because    {proof.reason}"]
    where = "exactly where" if proof.complete else "at least where"
    predicate = {"True": "at all sizes", "": "at the sizes below"}.get(proof.predicate)
    lines = [f"refuted: it breaks {predicate or f'{where} {proof.predicate}'}"]
    for witness in proof.witnesses[:3]:
        lines.append(f"  {witness.outcome:<9}  {_listed(witness.sizes)}: {witness.detail}")
    if proof.reason:
        lines.append(f"  not all    {proof.reason}")
    return lines


def _conditions(proof: Proof) -> str:
    """What the domain asks for besides sizes of at least one."""
    own = [part for part in conjuncts(proof.domain) if not part.endswith(" >= 1")]
    return f" with {both(own)}" if own else ""


def _paths(proof: Proof) -> list[str]:
    if not proof.paths:
        return []
    rows = [f"  {'path':<9}  {'shape or error':<40}  condition"]
    rows += [_row(path) for path in proof.paths[:MOST_ROWS]]
    if len(proof.paths) > MOST_ROWS:
        rows.append(f"  and {len(proof.paths) - MOST_ROWS} more paths")
    return rows


def _row(path: Path) -> str:
    result = path.error or f"({', '.join(path.shape)})"
    return f"  {path.outcome:<9}  {_cut(result, 40):<40}  {_cut(path.region, 90)}"


def _agreement(proof: Proof) -> str:
    against = [path for path in proof.paths if path.replayed == "contradicted"]
    skipped = sum(path.replayed == "no" for path in proof.paths)
    words = f"{len(against)} against the prediction" if against else "each as predicted"
    return f"{words}; {skipped} paths too large to run" if skipped else words


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _listed(sizes: Sizes) -> str:
    return " ".join(f"{axis}={size}" for axis, size in sizes.items())
