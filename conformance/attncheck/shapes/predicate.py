"""Where a contract is broken, in few words: the conditions of failing paths, made shorter by proof."""

import ast
import time
from collections.abc import Iterator, Sequence

from attncheck.shapes.expressions import alternatives, both, either, holds, names_in, negation
from attncheck.shapes.solver import Answer, Solver

# How far a condition on one axis is evaluated to guess a plainer one; z3 then judges the guess.
_FAR = 160
_NEAR = 12

Term = tuple[str, ...]


def simplify(solver: Solver, terms: Sequence[Term], *, seconds: float = 5.0) -> str:
    """A short condition that means the same, for legal sizes, as that all atoms of some term hold."""
    whole = either(both(term) for term in terms)
    if solver.find(negation(whole)) is Answer.NONE:
        return "True"
    deadline = time.process_time() + seconds
    simple = [atoms for term in terms for atoms in alternatives(both(term))]
    plain_terms = [tuple(plain_atom(solver, atom) for atom in term) for term in simple]
    met = {atom for term in plain_terms for atom in term}
    opposite = {plain_atom(solver, negation(atom)) for atom in met}
    atoms = sorted(met | opposite, key=lambda atom: (_cost(atom), atom))
    chosen: list[Term] = []
    for atom in atoms:
        # One condition that suffices alone says more than any list of paths.
        if time.process_time() < deadline and _adds(solver, chosen, (atom,)) and solver.implies(atom, whole):
            chosen.append((atom,))
            if not _adds(solver, chosen, (whole,)):
                break
    # What one condition says whole needs no list of paths, each of which is a question of its own.
    for term in plain_terms if _adds(solver, chosen, (whole,)) else ():
        if time.process_time() < deadline and _adds(solver, chosen, term):
            chosen.append(_shorter(solver, term, whole))
        elif time.process_time() >= deadline:
            chosen.append(term)
    needed = [_in_context(solver, term) for term in _needed(solver, chosen, whole)]
    order = sorted(needed, key=lambda term: _place(solver, both(term)))
    return either(both(sorted(term, key=lambda atom: _place(solver, atom))) for term in order)


def _place(solver: Solver, condition: str) -> tuple[int, str]:
    """Conditions are read in the order of their first axes."""
    axes = [solver.axes.index(name) for name in names_in(condition) if name in solver.axes]
    return min(axes, default=0), condition


def _in_context(solver: Solver, term: Term) -> Term:
    """The term with each atom as plain as it can be where all others of the term hold."""
    atoms = list(term)
    for place, atom in enumerate(atoms):
        axes = [name for name in names_in(atom) if name in solver.axes]
        others = [other for other in atoms if other != atom]
        near = [c for c in (*solver.conditions, *others) if names_in(c) == tuple(axes)]
        for guess in _on_one(atom, axes[0], {}, both(near)) if len(axes) == 1 else ():
            changed = [*atoms[:place], guess, *atoms[place + 1 :]]
            if _cost(guess) <= _cost(atom) and solver.equivalent(both(atoms), both(changed)):
                atoms = changed
                break
    return tuple(atoms)


def _adds(solver: Solver, chosen: Sequence[Term], term: Term) -> bool:
    """Whether a term holds anywhere that the chosen ones do not."""
    others = negation(either(both(other) for other in chosen)) if chosen else "True"
    return solver.find(both(term), others) is not Answer.NONE


def _shorter(solver: Solver, term: Term, whole: str) -> Term:
    """The term without each atom that is not needed for it to imply the whole, the longest first."""
    kept = list(term)
    for atom in sorted(term, key=_cost, reverse=True):
        rest = [other for other in kept if other != atom]
        if rest and solver.implies(both(rest), whole):
            kept = rest
    return tuple(kept)


def _needed(solver: Solver, terms: Sequence[Term], whole: str) -> list[Term]:
    kept = list(terms)
    for term in sorted(terms, key=lambda term: (len(term), sum(map(_cost, term))), reverse=True):
        rest = [other for other in kept if other != term]
        if rest and solver.implies(whole, either(both(other) for other in rest)):
            kept = rest
    return kept


def _cost(atom: str) -> int:
    return len(atom) + 20 * len(names_in(atom))


def plain_atom(solver: Solver, atom: str) -> str:
    """The plainest condition known that means the same for all legal sizes."""
    atom = _constant_on_the_right(atom)
    axes = sorted((name for name in names_in(atom) if name in solver.axes), key=solver.axes.index)
    # Whatever the atom says of several axes may turn out to be about one of them, or a pair.
    pinned = [{other: 3 for other in axes if other != axis} for axis in axes]
    guesses = [guess for axis, rest in zip(axes, pinned, strict=True) for guess in _on_one(atom, axis, rest)]
    if len(axes) == 2:
        guesses += _on_two(atom, axes[0], axes[1])
    for guess in guesses:
        # Four more characters are not worth `width == 1` turning into `width < 2`.
        if len(guess) <= len(atom) + 4 and guess != atom and solver.equivalent(atom, guess):
            return guess
    return atom


def _constant_on_the_right(atom: str) -> str:
    """`a + 1 != 50` as `a != 49`."""
    match ast.parse(atom, mode="eval").body:
        case ast.Compare(
            left=ast.BinOp(left=rest, op=ast.Add(), right=ast.Constant(value=int(moved))),
            ops=[operator],
            comparators=[ast.Constant(value=int(bound))],
        ):
            return ast.unparse(ast.Compare(rest, [operator], [ast.Constant(bound - moved)]))
    return atom


def _on_one(atom: str, axis: str, rest: dict[str, int], within: str = "True") -> Iterator[str]:
    sizes = {size for size in range(1, _FAR) if _holds(within, {**rest, axis: size})}
    true = {size for size in sizes if _holds(atom, {**rest, axis: size})}
    false = sizes - true
    if not true or not false:
        return
    if len(true) == 1:
        yield f"{axis} == {min(true)}"
    if max(true) < min(false):
        yield f"{axis} <= {max(true)}"
    if max(false) < min(true):
        yield f"{axis} >= {min(true)}"
    if len(false) == 1:
        yield f"{axis} != {min(false)}"
    for period in range(2, 17):
        rests = {size % period for size in true}
        if len(rests) == 1 and not rests & {size % period for size in false}:
            yield f"{axis} % {period} == {min(rests)}"
        elif len(rests) == period - 1 and not rests & {size % period for size in false}:
            yield f"{axis} % {period} != {min(set(range(period)) - rests)}"


def _on_two(atom: str, one: str, two: str) -> Iterator[str]:
    near = range(1, _NEAR + 1)
    true = {(a, b) for a in near for b in near if _holds(atom, {one: a, two: b})}
    candidates = [f"{one} {sign} {two}" for sign in ("==", "!=", "<", ">", "<=", ">=")]
    for candidate in candidates:
        if true == {(a, b) for a in near for b in near if holds(candidate, {one: a, two: b})}:
            yield candidate


def _holds(atom: str, sizes: dict[str, int]) -> bool:
    try:
        return holds(atom, sizes)
    except NameError:  # A fixed axis; the atom stays as it is.
        return False
