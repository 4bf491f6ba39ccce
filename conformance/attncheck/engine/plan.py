"""Which cases a check meets: boundaries first, then random ones, as many as the budget allows."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from attncheck.checks.check import Check
from attncheck.engine.request import Budget
from attncheck.model.case import Case, Scalar
from attncheck.strategies.sizes import Rules, at_random, boundary
from attncheck.targets.subject import Subject


@dataclass(frozen=True)
class Extent:
    """How far a budget goes: the long size, and how many boundary and random cases at most."""

    long: int
    boundary: int
    random: int


EXTENTS: dict[Budget, Extent] = {
    "quick": Extent(long=33, boundary=10, random=4),
    "default": Extent(long=129, boundary=100, random=14),
    "deep": Extent(long=1025, boundary=100, random=80),
}


def rules_of(subject: Subject, options: dict[str, Scalar]) -> Rules:
    """What the sizes of a subject must obey."""
    contract, interface = subject.mechanism.contract, subject.interface
    defaults = {a: e for a, e in contract.defaults.items() if a not in interface.free and a not in subject.ties}
    fixed = {a: int(v) for a, v in interface.fixed.items() if a in subject.axes and isinstance(v, int)}
    return Rules(
        axes=subject.axes,
        ties=subject.ties,
        defaults={a: e for a, e in defaults.items() if a not in fixed},
        conditions=(*(rule.holds for rule in contract.rules), *interface.refuses),
        options=options,
        fixed=fixed,
    )


def default_options(subject: Subject) -> dict[str, Scalar]:
    """Every option of the contract at its default, or at what the target always does."""
    options = {o.name: o.values[0] for o in subject.mechanism.contract.options}
    return {**options, **{k: v for k, v in subject.interface.fixed.items() if k in options}}


def all_options(subject: Subject) -> Iterator[dict[str, Scalar]]:
    """Options in turn: the defaults, one changed at a time, then every combination, for ever."""
    start = default_options(subject)
    free = [
        o for o in subject.mechanism.contract.options
        if o.name in subject.interface.takes and o.name not in subject.interface.fixed
    ]  # fmt: skip
    singles = [{**start, o.name: value} for o in free for value in o.values[1:]]
    names = [o.name for o in free]
    every = [{**start, **dict(zip(names, v, strict=True))} for v in itertools.product(*(o.values for o in free))]
    return itertools.cycle([start, *singles, start, *every] if free else [start])


def cases(check: Check, subject: Subject, budget: Budget, seed: int) -> list[Case]:
    """The cases of one check, in the order in which they are judged."""
    extent = EXTENTS[budget]
    start = default_options(subject)
    rules = rules_of(subject, start)
    rng = random.Random(f"{seed}:{check.id}")
    edges = list(itertools.islice(boundary(rules, extent.long), extent.boundary))
    draws = list(itertools.islice(at_random(rules, rng.randrange(2**31)), extent.random))
    if check.share < 1:
        edges = edges[:1] + _some(edges[1:], check.share, rng)
        draws = _some(draws, check.share, rng)
    sizes = [*edges, *draws]
    turns = all_options(subject) if check.options == "all" else itertools.repeat(start)
    base = seed % 100_003 * 1000
    made = []
    for index, (size, options) in enumerate(zip(sizes, turns, strict=False)):
        made.append(Case(size, dict(options), device=subject.device, seed=base + index))
    if check.options == "all":
        # The base sizes meet every option, so that none is left to chance.
        every = itertools.islice(all_options(subject), 1, _number_of_options(subject))
        made += [Case(edges[0], dict(o), device=subject.device, seed=base + 500 + i) for i, o in enumerate(every)] if edges else []
    return [case for case in made if _legal(subject, case)]


def _number_of_options(subject: Subject) -> int:
    free = [
        o for o in subject.mechanism.contract.options
        if o.name in subject.interface.takes and o.name not in subject.interface.fixed
    ]  # fmt: skip
    product = 1
    for option in free:
        product *= len(option.values)
    return min(2 + sum(len(o.values) - 1 for o in free) + product, 40)


def _legal(subject: Subject, case: Case) -> bool:
    complete = rules_of(subject, dict(case.options)).complete(case.sizes)
    return complete == dict(case.sizes)


def _some(items: list[dict[str, int]], share: float, rng: random.Random) -> list[dict[str, int]]:
    count = max(1, round(len(items) * share)) if items else 0
    chosen = set(rng.sample(range(len(items)), count))
    return [item for index, item in enumerate(items) if index in chosen]
