"""A check: one claim and the code that tests it, as a value. Nothing registers itself."""

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from attncheck.model.case import Case, Scalar
from attncheck.model.verdict import Family
from attncheck.targets.ask import Answer, Ask, Trouble
from attncheck.targets.frameworks.bridges import BRIDGES, offered
from attncheck.targets.legal import at_first, has_dead_rows
from attncheck.targets.subject import Subject


@dataclass(frozen=True)
class Compared:
    """Two tensors that should have been equal, within `tolerance` of the largest expected value."""

    actual: Tensor
    expected: Tensor
    tolerance: float


@dataclass(frozen=True)
class Mismatch:
    """What one case shows against the claim; `compared` where it is two tensors that differ."""

    expected: str
    actual: str
    gap: float = float("inf")
    kind: str = "wrong values"
    compared: Compared | None = field(default=None, compare=False, repr=False)


def raised(trouble: Trouble) -> Mismatch:
    """A call that raises where it should return."""
    return Mismatch("a result", f"{trouble} (in the {trouble.stage})", kind=f"raises {trouble.kind}")


@dataclass(frozen=True)
class NotJudged:
    """Why one case says nothing about the claim."""

    reason: str


Judgement = Mismatch | NotJudged | None
# A check asks, gets its answers, and may ask again; it returns its judgement of the case.
Trial = Generator[Sequence[Ask], Sequence[Answer], Judgement]
Judge = Callable[[Subject, Case], Trial]
Applies = Callable[[Subject], str | None]
Options = Literal["default", "all"]
# What a check may need of a target beside plain calls: targets of other frameworks lack some of it.
Need = Literal["", "gradients", "torch", "memory"]
_NEEDS: Mapping[Need, str] = {
    "gradients": "gradients are not asked of",
    "torch": "torch's modules, modes and state are not asked of",
    "memory": "memory is not shared with",
}


@dataclass(frozen=True)
class Check:
    """One claim. `applies` gives the reason why a subject is skipped, or None.

    `basic` checks come first, and what depends on a broken one is blocked by it. `judges_trouble`
    marks those for which an exception is an answer. `options` says whether the options of the
    contract vary over the cases. `share` is the part of the budget's cases that it gets. A check
    with a `deviation` does not fail: what breaks it follows that option of a convention, where there is one.
    `most` caps the cases of a slow check: budget -> number, 0 where it is left out.
    `plans` are sizes and options that it wants in place of the budget's.
    """

    id: str
    family: Family
    claim: str
    judge: Judge
    applies: Applies
    doc: str
    basic: bool = False
    judges_trouble: bool = False
    options: Options = "default"
    share: float = 1.0
    rank: int = 50
    deviation: str = ""
    most: Mapping[str, int] = field(default_factory=dict)
    plans: tuple[Mapping[str, Scalar], ...] = ()

    def excuse(self, subject: Subject) -> str:
        """The deviation, unless it is an option of a convention that the mechanism does not have."""
        convention, _, option = self.deviation.partition(": ")
        known = not option or convention in subject.mechanism.contract.conventions
        return self.deviation if known else ""

    @property
    def budgets(self) -> str:
        """Which budgets it needs, as a reason for there being no case."""
        needed = [budget for budget, count in self.most.items() if count]
        return f"slow: judged with --budget {' or '.join(needed)}" if self.most else ""


def always(subject: Subject) -> str | None:
    """The check applies to every subject."""
    return None


def check(
    family: Family,
    claim: str,
    *,
    applies: Applies = always,
    basic: bool = False,
    judges_trouble: bool = False,
    options: Options = "default",
    share: float = 1.0,
    rank: int = 50,
    deviation: str = "",
    most: Mapping[str, int] | None = None,
    plans: tuple[Mapping[str, Scalar], ...] = (),
    asks: Need = "",
) -> Callable[[Judge], Check]:
    """Make a Check of a function; its name is the id, its docstring the explanation.

    `asks` is what it needs of a target beside plain calls; gradients for those of that family.
    """

    def make(judge: Judge) -> Check:
        doc = " ".join((judge.__doc__ or "").split())
        name = judge.__name__
        return Check(
            name,
            family,
            claim,
            _where_stated(name, judge, options == "default" and family not in ("shape", "hygiene")),
            both(applies, _has(asks or ("gradients" if family == "gradient" else ""))),
            doc,
            basic,
            judges_trouble,
            options,
            share,
            rank,
            deviation,
            most or {},
            plans,
        )

    return make


def _where_stated(name: str, judge: Judge, of_living_rows: bool) -> Judge:
    """The judge, silent where the contract does not state its law: a case may shrink to such sizes.

    With `of_living_rows`, also where a target that is always causal leaves a query without a key.
    """

    @functools.wraps(judge)
    def judge_if_stated(subject: Subject, case: Case) -> Trial:
        if not subject.law_holds(name, case):
            return NotJudged("the law is not stated for these sizes and options")
        if of_living_rows and has_dead_rows(subject, case):
            return NotJudged("some query sees no key, and what it gives is a convention")
        return (yield from judge(subject, case))

    return judge_if_stated


def excused(subject: Subject, case: Case, trouble: Trouble) -> NotJudged | None:
    """Why this says nothing of a target whose sizes are guessed at, as no weight shows what they are."""
    if subject.interface.loads or at_first(subject, case) or trouble.lost:
        return None
    return NotJudged(f"it is not known how its sizes follow from these: {trouble}")


def needs_law(check_id: str) -> Applies:
    """Applies where the contract lists the law of that name, and the target lets one see it."""

    def applies(subject: Subject) -> str | None:
        laws = subject.laws(check_id)
        if not laws:
            return f"{check_id} is no law of {subject.mechanism.id}"
        return needs_weights(subject) if all(law.parameters for law in laws) else None

    return applies


def speaks_of(check: Check, subject: Subject) -> bool:
    """Whether a check judges something that the subject's mechanism promises at all."""
    return not (check.applies(subject) or "").endswith(f"is no law of {subject.mechanism.id}")


def both(*conditions: Applies) -> Applies:
    """Applies where all conditions do; the first reason against it counts."""
    return lambda subject: next((r for r in (c(subject) for c in conditions) if r), None)


def _has(need: Need) -> Applies:
    """Applies where the target's framework has what a check needs."""

    def applies(subject: Subject) -> str | None:
        framework = subject.interface.framework
        if not need or need in offered(framework):
            return None
        return f"{_NEEDS[need]} {BRIDGES[framework].kind}"

    return applies


def needs_mask(subject: Subject) -> str | None:
    """Applies to targets that take a mask or lengths."""
    return None if subject.masking else "the target takes no mask"


def needs_weights(subject: Subject) -> str | None:
    """Applies where the reference's weights can be put into the target."""
    if not subject.interface.loads:
        return "the target's weights could not be matched with the reference's"
    return None
