"""Which known mistake: the catalogue is fitted against the target's own outputs, with its own weights."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from attncheck.checks.masking import masked
from attncheck.checks.oracle import expect
from attncheck.checks.value import living
from attncheck.defects import DEFECTS
from attncheck.defects.defect import Defect
from attncheck.defects.plain import mutant_of
from attncheck.model.case import Case, Scalar
from attncheck.model.verdict import Family
from attncheck.strategies.sizes import plans, value
from attncheck.strategies.tolerance import difference
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.bench import Bench
from attncheck.targets.subject import Subject, default_options, rules_of

# The same mistake in other words differs by rounding, 1e-13; two mistakes by 1e-3 and more.
SAME = 1e-6
# Long sums in float32 differ by 2e-5, and a mistake that was found by 1e-3 at least.
_BOUNDS = {"float32": 2e-4}
# A plain implementation keeps all scores of queries and keys, 256 MiB of these.
_MOST_SCORES = 2**25
# A long side costs time and tells no more than one past a block of eight.
_LONG = 13


class Executor(Protocol):
    """Puts questions to the target."""

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        """The answers, in order."""


def name(subject: Subject, executor: Executor, failing: Sequence[Case] = ()) -> tuple[Defect, ...]:
    """The mistake that explains every answer of the target, or the two that do; none if unknown.

    The nearest mistake is not good enough: a guess would send its reader the wrong way.
    """
    cases = [replace(case, dtype=subject.interface.dtype) for case in failing] + _cases(subject)
    asks = [subject.ask(case) for case in cases]
    answers = executor.put(asks)
    wrong: list[tuple[Ask, Answer]] = []
    rest: list[tuple[Ask, Answer]] = []
    for ask, answer in zip(asks, answers, strict=True):
        if answer.trouble is not None and answer.trouble.stage == "constructor":
            continue
        differs = answer.trouble is None and not _same(subject, ask, answer.out, expect(subject, ask).out)
        (wrong if differs else rest).append((ask, answer))
    if not wrong:
        return ()
    # Wrong answers first: nearly every candidate is out after one of them. A mistake that raises
    # somewhere explains a target only if that raises there too.
    evidence = wrong + rest
    own = [d for d in DEFECTS if d.mechanism == subject.mechanism.id and not d.needs]
    for size in (1, 2):
        matches = [
            found for found in itertools.combinations(own, size) if _explains(subject, found, evidence)
        ]
        if matches:
            return _only(matches, wrong)
    return ()


def name_by(subject: Subject, evidence: Sequence[tuple[Ask, Answer]], family: Family) -> tuple[Defect, ...]:
    """The mistake that gives every one of these answers, of those that plain calls at usual sizes cannot show."""
    own = [d for d in DEFECTS if d.mechanism == subject.mechanism.id and d.family == family]
    hidden = [d for d in own if d.needs.startswith("--budget") or (family == "mode" and not d.needs)]
    if any(_scores(ask) > _MOST_SCORES for ask, _ in evidence):
        return ()
    shown = [d for d in hidden if all(_shows(d, ask) for ask, _ in evidence)]
    found = ((d,) for d in shown if evidence and _explains(subject, (d,), evidence, _BOUNDS))
    return next(found, ())


def _scores(ask: Ask) -> int:
    return int(str(ask.names.get("q_len", 0))) * int(str(ask.names.get("kv_len", 0)))


def _only(matches: Sequence[tuple[Defect, ...]], wrong: Sequence[tuple[Ask, Answer]]) -> tuple[Defect, ...]:
    """The one match, or the first that can show wherever the target was wrong.

    Several that explain every answer are one mistake at the sizes that the target allows: the
    catalogue names the plainest first.
    """
    fitting = [m for m in matches if all(any(_shows(d, ask) for d in m) for ask, _ in wrong)]
    return next(iter(fitting or matches))


def _shows(defect: Defect, ask: Ask) -> bool:
    if defect.shows == "always":
        return True
    try:
        return bool(value(defect.shows, {"bias": "bias" in ask.inputs, **ask.options, **ask.names}))
    except NameError:
        return True


def _explains(
    subject: Subject,
    found: tuple[Defect, ...],
    evidence: Iterable[tuple[Ask, Answer]],
    bounds: Mapping[str, float] = MappingProxyType({}),
) -> bool:
    made = mutant_of(subject.mechanism.id, *found)
    if made is None:
        return False
    bench = Bench(replace(made, like=subject.interface))
    for ask, answer in evidence:
        given = bench.perform(ask)
        if (given.trouble is None) != (answer.trouble is None):
            return False
        if given.trouble is None and not _all_same(subject, ask, given, answer, bounds.get(ask.dtype, SAME)):
            return False
    return True


def _all_same(subject: Subject, ask: Ask, given: Answer, answer: Answer, bound: float) -> bool:
    """Whether outputs, and what a scenario or a backward pass gave beside them, are the same."""
    names = answer.tensors.keys() & given.tensors.keys() - {"weights", "out"}
    beside = all(_close(given.tensors[name], answer.tensors[name], bound) for name in names)
    return beside and _same(subject, ask, given.out, answer.out, bound)


def _same(subject: Subject, ask: Ask, actual: Tensor, expected: Tensor, bound: float = SAME) -> bool:
    """Whether two outputs are the same in the rows that see a key."""
    if actual.shape != expected.shape:
        return False
    return _close(living(subject, ask.names, actual), living(subject, ask.names, expected), bound)


def _close(actual: Tensor, expected: Tensor, bound: float) -> bool:
    return actual.shape == expected.shape and difference(actual, expected).gap <= bound


def _cases(subject: Subject) -> list[Case]:
    """Sizes that tell mistakes apart, under every option, with every kind of mask by turns."""
    made: list[Case] = []
    masks = itertools.cycle(("", "random_mask", "padding_mask"))
    for options in _options(subject):
        rules = rules_of(subject, options)
        # What is added to the input needs its channels under most options.
        sizes = rules.planned({}) or rules.planned({"out_channels": rules.base["channels"]})
        if sizes is not None:
            case = Case(sizes, options, dtype=subject.interface.dtype, device=subject.device, seed=len(made))
            made += [
                masked(subject, replace(case, seed=len(made)), kind)
                for kind in ("", "random_mask", "padding_mask")
            ]
    start = default_options(subject)
    rules = rules_of(subject, start)
    for plan in plans(rules.primary, rules.base, _LONG):
        sizes = rules.planned(plan)
        if sizes is not None:
            case = Case(sizes, start, dtype=subject.interface.dtype, device=subject.device, seed=len(made))
            made.append(masked(subject, case, next(masks)))
    return made


def _options(subject: Subject) -> Iterator[dict[str, Scalar]]:
    """The defaults, and each option changed alone; the causal ones with both alignments."""
    start = default_options(subject)
    yield start
    for option in subject.mechanism.contract.options:
        if option.name in subject.interface.takes and option.name not in subject.interface.fixed:
            yield from ({**start, option.name: other} for other in option.values[1:])
    if {"causal", "alignment"} <= start.keys() & set(subject.interface.takes):
        yield {**start, "causal": True, "alignment": "lower_right"}
