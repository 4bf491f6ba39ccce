"""Contracts and checks belong together: a check for every law, and every reference passes them all."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from attncheck.checks import CHECKS
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.model.verdict import Verdict
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref import Mechanism
from attnref.catalogue import MECHANISMS

IDS = {check.id for check in CHECKS}
# Not within the quick budget: tests of their own judge references with these.
SLOW = {check.id for check in CHECKS if check.most.get("quick") == 0}
LAWS = {law.id for mechanism in MECHANISMS for law in mechanism.contract.laws}
# References return weights before dropout and have none themselves.
NEEDS_DROPOUT = {
    "drops_nothing_in_eval_mode",
    "drops_something_in_training",
    "dropout_keeps_the_mean",
    "drops_whole_keys",
}
BROKEN = [
    pytest.param(mechanism, broken, id=f"{mechanism.id}-{broken.law.id}-{index}")
    for mechanism in MECHANISMS
    for index, broken in enumerate(mechanism.contract.broken_laws)
    if broken.law.id in IDS
]


def test_every_law_has_a_check_of_its_name():
    assert set() == LAWS - IDS


def test_no_two_checks_share_an_id():
    assert [check for check, count in Counter(check.id for check in CHECKS).items() if count > 1] == []


def test_every_check_says_what_it_claims_and_how_it_looks():
    assert [check.id for check in CHECKS if not check.claim or not check.doc] == []


@cache
def verdicts(mechanism: Mechanism) -> dict[str, Verdict]:
    """Every check on one reference, at the quick budget."""
    reference = Reference(mechanism)
    subject, executor = Subject(mechanism, reference.interface), InProcess(reference)
    return {c.id: judge(c, subject, cases(c, subject, "quick", 1), executor, Known()) for c in CHECKS}


each_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.id)


@each_mechanism
def test_the_reference_passes_or_is_skipped_with_a_reason(mechanism):
    unexpected = {
        check: (verdict.outcome, verdict.reason, verdict.findings)
        for check, verdict in verdicts(mechanism).items()
        if verdict.outcome != "passed" and not (verdict.outcome == "skipped" and verdict.reason)
    }
    assert unexpected == {}


@each_mechanism
def test_every_law_of_the_contract_is_judged(mechanism):
    judged = verdicts(mechanism)
    silent = {
        law.id: judged[law.id].reason for law in mechanism.contract.laws if judged[law.id].outcome != "passed"
    }
    assert silent == {}


def test_no_check_is_skipped_for_every_mechanism():
    judged = {c for m in MECHANISMS for c, verdict in verdicts(m).items() if verdict.outcome == "passed"}
    # A reference states no convention of its own in words.
    assert IDS - judged == NEEDS_DROPOUT | SLOW | {"contradicts_its_documentation"}


@pytest.mark.parametrize(("mechanism", "broken"), BROKEN)
def test_a_law_that_does_not_hold_is_broken_by_the_reference(mechanism, broken):
    """Stated as if it held, it fails: the contract does not call anything broken that holds."""
    contract = replace(mechanism.contract, laws=(broken.law,), broken_laws=())
    stated = replace(mechanism, contract=contract)
    reference = Reference(stated)
    subject = Subject(stated, reference.interface)
    check = next(check for check in CHECKS if check.id == broken.law.id)

    verdict = judge(check, subject, cases(check, subject, "quick", 1), InProcess(reference), Known())

    assert verdict.outcome == "failed", verdict.reason
