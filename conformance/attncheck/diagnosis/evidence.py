"""What a target is asked before its mistake is named: what failed, and sizes that tell mistakes apart."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from attncheck.checks.gradient import differentiable, learned
from attncheck.checks.masking import masked
from attncheck.checks.oracle import attempted
from attncheck.diagnosis.answers import close
from attncheck.model.case import Case, Scalar
from attncheck.strategies.sizes import Rules, draw, plans
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.legal import dead_rows, default_options, rules_of
from attncheck.targets.subject import Subject

# A question and what came back.
Exchange = tuple[Ask, Answer]

_MASKS = ("", "random_mask", "padding_mask")
# What failed is asked again about so many other numbers.
_AGAIN = 6
# A long side costs time and tells no more than one past a block of eight.
_LONG = 13


class Executor(Protocol):
    """Puts questions to the target."""

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        """The answers, in order."""


def gathered(subject: Subject, executor: Executor, failing: Sequence[Exchange]) -> list[Exchange]:
    """What a check asked when it failed, and plain calls under every option.

    If the check wanted more than outputs, gradients say, some of the plain calls want that as well:
    its smallest case alone may not tell one such mistake from another.
    """
    told = [(ask, answer) for ask, answer in failing if _tells(subject, ask, answer)]
    again = [other for ask, _ in told[:1] for other in _with_other_numbers(ask)]
    others = zip(again, executor.put(again), strict=True)
    told += [(ask, answer) for ask, answer in others if _tells(subject, ask, answer)]
    cases = _cases(subject)
    asks = [subject.ask(case) for case in cases]
    first = asks[: len(_MASKS)]
    if any(ask.gradients for ask, _ in failing):
        asks += [replace(ask, gradients=(*differentiable(subject), *learned(subject, ask))) for ask in first]
    if any(ask.options.get("need_weights") for ask, _ in failing):
        asks += [replace(ask, options={**ask.options, "need_weights": True}) for ask in first]
    answers = zip(asks, executor.put(asks), strict=True)
    return told + [(ask, a) for ask, a in answers if a.trouble is None or a.trouble.stage != "constructor"]


def _with_other_numbers(ask: Ask) -> Iterator[Ask]:
    """The same question about other numbers: one of large logits, say, with those of the other sign."""
    for place in range(1, _AGAIN + 1):
        inputs = {name: replace(r, seed=r.seed + 9973 * place) for name, r in ask.inputs.items()}
        yield replace(ask, inputs=inputs)


def drawn(subject: Subject, count: int) -> Iterator[Ask]:
    """Plain calls at sizes, options and masks at random, fewer than `count` if some are not legal."""
    rng = random.Random(0)
    options = list(_options(subject))
    for seed in range(count):
        chosen = rng.choice(options)
        sizes = draw(rules_of(subject, chosen), rng)
        if sizes is not None:
            case = Case(sizes, chosen, dtype=subject.interface.dtype, device=subject.device, seed=seed)
            yield subject.ask(masked(subject, case))


def _tells(subject: Subject, ask: Ask, answer: Answer) -> bool:
    """Whether what a check asked is a plain question that the reference can answer, at full precision."""
    if ask.scenario != "call" or ask.train or ask.dtype != subject.interface.dtype:
        return False
    expected = attempted(subject, ask)
    if expected.trouble is not None:
        return False
    if answer.trouble is not None:
        return answer.trouble.stage != "constructor"
    # What a row without keys gives is a convention, and its gradients follow it.
    convention = _blind(subject, ask) or (ask.gradients and dead_rows(ask.names))
    return not convention or close(answer.out, expected.out)


def _blind(subject: Subject, ask: Ask) -> bool:
    """Whether the mask hides every key from some query."""
    recipe = ask.inputs.get(subject.masking or "")
    if recipe is None:
        return False
    mask = make(recipe)
    return bool((mask < 1).any()) if recipe.kind == "lengths" else not bool(mask.any(-1).all())


def _cases(subject: Subject) -> list[Case]:
    """Sizes that tell mistakes apart, under every option, with every kind of mask by turns."""
    made: list[Case] = []
    kinds = _MASKS if subject.masking else ("",)
    masks = itertools.cycle(kinds)
    for options in _options(subject):
        rules = rules_of(subject, options)
        sizes = rules.planned(_start(rules))
        if sizes is not None:
            case = Case(sizes, options, dtype=subject.interface.dtype, device=subject.device, seed=len(made))
            made += [masked(subject, replace(case, seed=len(made)), kind) for kind in kinds]
    start = default_options(subject)
    rules = rules_of(subject, start)
    for plan in plans(rules.primary, rules.base, _LONG):
        sizes = rules.planned({**_start(rules), **plan})
        if sizes is not None:
            case = Case(sizes, start, dtype=subject.interface.dtype, device=subject.device, seed=len(made))
            made.append(masked(subject, case, next(masks)))
    return made


def _start(rules: Rules) -> dict[str, int]:
    """What to change of the usual sizes so that they are legal: what is added to the input needs its channels."""
    changes = plans(rules.primary, rules.base, _LONG)
    return next((plan for plan in changes if rules.planned(plan) is not None), {})


def _options(subject: Subject) -> Iterator[dict[str, Scalar]]:
    """The defaults, and each option changed alone; the causal ones with both alignments."""
    start = default_options(subject)
    yield start
    for option in subject.mechanism.contract.options:
        if option.name in subject.interface.takes and option.name not in subject.interface.fixed:
            yield from ({**start, option.name: other} for other in option.values[1:])
    if {"causal", "alignment"} <= start.keys() & set(subject.interface.takes):
        yield {**start, "causal": True, "alignment": "lower_right"}
