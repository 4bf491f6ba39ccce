"""Which sizes and options a subject allows: the rules they obey, and those to begin with."""

from collections.abc import Mapping
from dataclasses import replace

from attncheck.model.case import Case, Scalar
from attncheck.strategies.sizes import OWN, Rules
from attncheck.targets.subject import Subject, rank_for


def rules_of(subject: Subject, options: dict[str, Scalar]) -> Rules:
    """What the sizes of a subject must obey."""
    contract, interface = subject.mechanism.contract, subject.interface
    stated = {**contract.defaults, **interface.derived}
    defaults = {a: e for a, e in stated.items() if a not in interface.free and a not in subject.ties}
    fixed = {a: int(v) for a, v in interface.fixed.items() if a in subject.axes and isinstance(v, int)}
    return Rules(
        axes=subject.axes_under(options),
        ties=subject.ties,
        defaults={a: e for a, e in defaults.items() if a not in fixed},
        conditions=(*(rule.holds for rule in contract.rules), *interface.refuses),
        options=options,
        fixed=fixed,
        own=OWN.get(subject.mechanism.id, {}),
    )


def resized(subject: Subject, case: Case, sizes: Mapping[str, int]) -> Case | None:
    """The case with these sizes and what follows from them, None if the subject does not allow one of them."""
    rules, chosen = rules_of(subject, dict(case.options)), {**case.sizes, **sizes}
    complete = rules.complete({axis: chosen[axis] for axis in rules.primary})
    if complete is None or any(complete.get(axis) != size for axis, size in sizes.items()):
        return None
    return replace(case, sizes=complete)


def of_one_size(subject: Subject, case: Case) -> Case | None:
    """The case with the axes of all inputs of numbers as long as those of the first; None if they cannot be."""
    first, *others = (shape for shape in subject.inputs.values() if shape.kind == "float")
    wanted = rank_for(first, case.sizes, case.options)
    pairs: list[tuple[str, str]] = []
    for shape in others:
        dims = rank_for(shape, case.sizes, case.options)
        if len(dims) != len(wanted):
            return None
        pairs += [(a.axis, b.axis) for a, b in zip(wanted, dims, strict=True) if a.axis and b.axis]
    if len(pairs) < len(others) * len(wanted):
        return None
    alike = resized(subject, case, {b: case.sizes[a] for a, b in pairs})
    return None if alike is None or any(alike.sizes[a] != alike.sizes[b] for a, b in pairs) else alike


def at_first(subject: Subject, case: Case) -> bool:
    """Whether these are the sizes at which the target was seen to run when its adapter was found."""
    return dict(case.sizes) == rules_of(subject, dict(case.options)).planned({})


def default_options(subject: Subject) -> dict[str, Scalar]:
    """Every option of the contract at its default, or at what the target always does."""
    # A square window of one row has one token, and nothing to tell apart.
    square = "height" in subject.interface.derived.get("tokens", "")
    options = {
        o.name: o.values[-1] if square and o.name == "height" else o.values[0]
        for o in subject.mechanism.contract.options
    }
    return {**options, **{k: v for k, v in subject.interface.fixed.items() if k in options}}


def has_dead_rows(subject: Subject, case: Case) -> bool:
    """Whether a causal alignment leaves some query without a key."""
    return dead_rows({**case.names, **subject.interface.fixed}) > 0


def dead_rows(names: Mapping[str, Scalar]) -> int:
    """How many of the first queries a causal alignment leaves without a key, for these sizes and options."""
    if not names.get("causal") or names.get("alignment") != "lower_right":
        return 0
    return max(0, int(names["q_len"] or 0) - int(names["kv_len"] or 0))
