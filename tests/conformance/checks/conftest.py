"""References with one thing changed, and the verdict of one check on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import Tensor

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.model.case import Case
from attncheck.model.verdict import Verdict
from attncheck.targets.adapter import Reference
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref.catalogue import BY_ID as MECHANISMS

Inputs = Mapping[str, Tensor]
Results = Mapping[str, Tensor]
# What a mistaken implementation makes of the right output, or does instead of the right call.
Change = Callable[[Tensor, Inputs, Any], Tensor]
Instead = Callable[[Callable[..., Results], Any, Inputs, Mapping[str, Any]], Results]


@dataclass(frozen=True)
class Mutant(Reference):
    """A reference that is wrong in one way."""

    change: Change | None = None
    instead: Instead | None = None
    built: Callable[[Any], Any] | None = None

    def build(self, names: Mapping[str, Any]) -> Any:
        module = super().build(names)
        return module if self.built is None else self.built(module)

    def call(self, built: Any, inputs: Inputs, options: Mapping[str, Any]) -> Results:
        if self.instead is not None:
            return self.instead(super().call, built, inputs, options)
        results = super().call(built, inputs, options)
        if self.change is None:
            return results
        return {**results, "out": self.change(results["out"], inputs, built)}


def verdict_on(
    check: str,
    mechanism: str | Mechanism,
    change: Change | None = None,
    instead: Instead | None = None,
    built: Callable[[Any], Any] | None = None,
    seed: int = 1,
    interface: Mapping[str, Any] | None = None,
    given: Sequence[Case] | None = None,
) -> Verdict:
    """The verdict of one check on the reference, with a change or without.

    `interface` says what differs in the reference's interface, `given` are cases in place of the planned.
    """
    what = MECHANISMS[mechanism] if isinstance(mechanism, str) else mechanism
    target = Mutant(what, replace(Reference(what).interface, **(interface or {})), change, instead, built)
    subject = Subject(what, target.interface)
    planned = cases(CHECKS[check], subject, "quick", seed) if given is None else given
    return judge(CHECKS[check], subject, planned, InProcess(target), Known())


@pytest.fixture(scope="session")
def verdict() -> Callable[..., Verdict]:
    return verdict_on


def _subject_of(mechanism: str, **interface: Any) -> Subject:
    what = MECHANISMS[mechanism]
    return Subject(what, replace(Reference(what).interface, **interface))


@pytest.fixture(scope="session")
def subject_of() -> Callable[..., Subject]:
    """The subject of a reference, whose interface differs as is said."""
    return _subject_of


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """A case of a mechanism at its base sizes, but for those that are named."""

    def make(mechanism: str, seed: int = 0, **sizes: int) -> Case:
        subject = _subject_of(mechanism)
        options = default_options(subject)
        rules = rules_of(subject, options)
        complete = rules.complete({**{a: rules.base[a] for a in rules.primary}, **sizes})
        assert complete is not None, f"{mechanism} allows no such sizes: {sizes}"
        return Case(complete, options, seed=seed)

    return make
