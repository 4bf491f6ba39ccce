"""Which cases a check meets: boundaries first, then random ones, as many as the budget allows."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from attncheck.checks.check import Check
from attncheck.engine.request import Budget
from attncheck.model.case import Case, Scalar
from attncheck.strategies.sizes import LONG, OWN, Rules, draw, plans
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref._mechanism import Option


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


def all_options(subject: Subject) -> Iterator[dict[str, Scalar]]:
    """Options in turn: the defaults, one changed at a time, then every combination, for ever."""
    start = default_options(subject)
    free = _free_options(subject)
    singles = [{**start, o.name: value} for o in free for value in o.values[1:]]
    names = [o.name for o in free]
    every = [
        {**start, **dict(zip(names, v, strict=True))} for v in itertools.product(*(o.values for o in free))
    ]
    return itertools.cycle([start, *singles, start, *every] if free else [start])


def cases(check: Check, subject: Subject, budget: Budget, seed: int) -> list[Case]:
    """The cases of one check, in the order in which they are judged."""
    extent = EXTENTS[budget]
    rng = random.Random(f"{seed}:{check.id}")
    varies = check.options == "all" or any(law.when for law in subject.laws(check.id))
    planner = _Planner(
        check, subject, all_options(subject) if varies else itertools.repeat(default_options(subject))
    )
    if check.plans:
        chosen = planner.own(check.plans)[: check.most.get(budget)]
        return _numbered(chosen, subject, seed)
    base = rules_of(subject, default_options(subject)).base
    wanted = plans(planner.axes, base, extent.long)
    edges = planner.boundary(wanted)[: extent.boundary]
    # Where one answer takes as long as ten of another mechanism, there are half as many.
    draws = planner.at_random(rng, extent.random // (2 if subject.mechanism.id in OWN else 1))
    if check.share < 1:
        edges = edges[:1] + _some(edges[1:], check.share, rng)
        draws = _some(draws, check.share, rng)
    if check.options == "all":
        # The base sizes meet every option, so that none is left to chance.
        draws += [*planner.every_option(wanted), *planner.long_and_causal(extent.long)]
    chosen = [*edges, *draws]
    if budget in check.most:
        most = check.most[budget]
        # The base sizes first: at ones and coincidences many a law says nothing.
        chosen = chosen[: min(most, 1)] + rng.sample(chosen[1:], max(0, min(most, len(chosen)) - 1))
    return _numbered(chosen, subject, seed)


T = TypeVar("T")
Sizes = dict[str, int]
Options = dict[str, Scalar]


def _numbered(chosen: Sequence[tuple[Sizes, Options]], subject: Subject, seed: int) -> list[Case]:
    first = seed % 100_003 * 1000
    return [
        Case(sizes, options, dtype=subject.interface.dtype, device=subject.device, seed=first + index)
        for index, (sizes, options) in enumerate(chosen)
    ]


@dataclass
class _Planner:
    """Pairs sizes with options such that the contract allows them and the law is stated for them."""

    check: Check
    subject: Subject
    turns: Iterator[Options]
    rules: dict[str, Rules] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that have a size of their own under some options."""
        every = [self._rules(o).primary for o in _distinct_options(self.subject)]
        return tuple(dict.fromkeys(axis for axes in every for axis in axes))

    def boundary(self, wanted: list[Sizes]) -> list[tuple[Sizes, Options]]:
        """Each plan once, under the next options that it is legal with."""
        made: list[tuple[Sizes, Options]] = []
        for plan in wanted:
            for options in self._next(_number_of_options(self.subject)):
                sizes = self._rules(options).planned(plan)
                if sizes is not None and (sizes, options) not in made and self._stated(sizes, options):
                    made.append((sizes, options))
                    break
        return made

    def own(self, wanted: Sequence[Mapping[str, Scalar]]) -> list[tuple[Sizes, Options]]:
        """Each plan once, where long axes and options can be just as it says."""
        made: list[tuple[Sizes, Options]] = []
        for plan in wanted:
            for options in _distinct_options(self.subject):
                if any(options.get(name, value) != value for name, value in plan.items()):
                    continue
                rules = self._rules(options)
                changed = {a: int(str(size)) for a, size in plan.items() if a in rules.primary}
                sizes = rules.complete({**{a: rules.base[a] for a in rules.primary}, **changed})
                if sizes is None or any(sizes.get(a) != size for a, size in plan.items() if a in LONG):
                    continue
                if (sizes, options) not in made:
                    made.append((sizes, options))
                    break
        return made

    def at_random(self, rng: random.Random, count: int) -> list[tuple[Sizes, Options]]:
        """At most `count` draws, fewer where few sizes are legal."""
        made: list[tuple[Sizes, Options]] = []
        for options in self._next(40 * count):
            if len(made) == count:
                break
            sizes = draw(self._rules(options), rng)
            if sizes is not None and self._stated(sizes, options):
                made.append((sizes, options))
        return made

    def every_option(self, wanted: list[Sizes]) -> list[tuple[Sizes, Options]]:
        """The base sizes under each combination of options; where some forbid them, the next that all allow."""
        options = _distinct_options(self.subject)
        allowed = (p for p in wanted if all(self._rules(o).planned(p) is not None for o in options))
        chosen = [{}, next(allowed, {})]
        pairs = [
            (self._rules(o).planned(plan), o) for plan in chosen[: 1 + (chosen[1] != {})] for o in options
        ]
        # Where causal alignments part: with more queries than keys too.
        pairs += [(self._turned(o), o) for o in options if o.get("causal")]
        return [(sizes, o) for sizes, o in pairs if sizes is not None and self._stated(sizes, o)]

    def long_and_causal(self, long: int) -> list[tuple[Sizes, Options]]:
        """Long sequences in which the future is hidden: what works in blocks has to know where each starts."""
        causal = [o for o in _distinct_options(self.subject) if o.get("causal")][:1]
        pairs = [(self._rules(o).planned({"q_len": long, "kv_len": long}), o) for o in causal]
        return [(sizes, o) for sizes, o in pairs if sizes is not None and self._stated(sizes, o)]

    def _turned(self, options: Options) -> Sizes | None:
        """The base sizes with as many queries as there were keys; None where their numbers are one."""
        rules = self._rules(options)
        if not {"q_len", "kv_len"} <= set(rules.primary):
            return None
        return rules.planned({"q_len": rules.base["kv_len"], "kv_len": rules.base["q_len"]})

    def _next(self, count: int) -> Iterator[Options]:
        return itertools.islice(self.turns, count)

    def _rules(self, options: Options) -> Rules:
        key = repr(options)
        if key not in self.rules:
            self.rules[key] = rules_of(self.subject, options)
        return self.rules[key]

    def _stated(self, sizes: Sizes, options: Options) -> bool:
        return self.subject.law_holds(self.check.id, Case(sizes, options))


def _distinct_options(subject: Subject) -> list[Options]:
    made: list[Options] = []
    for options in itertools.islice(all_options(subject), _number_of_options(subject)):
        if options not in made:
            made.append(options)
    return made


def _number_of_options(subject: Subject) -> int:
    free = _free_options(subject)
    product = 1
    for option in free:
        product *= len(option.values)
    return min(2 + sum(len(o.values) - 1 for o in free) + product, 40)


def _free_options(subject: Subject) -> list[Option]:
    interface = subject.interface
    return [
        o
        for o in subject.mechanism.contract.options
        if o.name in interface.takes and o.name not in interface.fixed
    ]


def _some(items: list[T], share: float, rng: random.Random) -> list[T]:
    count = max(1, round(len(items) * share)) if items else 0
    chosen = set(rng.sample(range(len(items)), count))
    return [item for index, item in enumerate(items) if index in chosen]
