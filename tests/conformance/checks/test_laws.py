"""Contracts and checks belong together: a check for every law, and every reference passes them all."""

from collections import Counter
from dataclasses import replace

import pytest
from attnref.catalogue import MECHANISMS

from attncheck.checks import CHECKS
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject

IDS = {check.id for check in CHECKS}
LAWS = {law.id for mechanism in MECHANISMS for law in mechanism.contract.laws}
BROKEN = [
    pytest.param(mechanism, broken, id=f"{mechanism.id}-{broken.law.id}-{index}")
    for mechanism in MECHANISMS
    for index, broken in enumerate(mechanism.contract.broken_laws)
    if broken.law.id in IDS
]


def test_every_law_has_a_check_of_its_name():
    assert LAWS - IDS == set()


def test_no_two_checks_share_an_id():
    assert [check for check, count in Counter(check.id for check in CHECKS).items() if count > 1] == []


def test_every_check_says_what_it_claims_and_how_it_looks():
    assert [check.id for check in CHECKS if not check.claim or not check.doc] == []


@pytest.fixture(scope="module")
def verdicts():
    """Every check on every reference, at the quick budget."""
    made = {}
    for mechanism in MECHANISMS:
        reference = Reference(mechanism)
        subject, executor = Subject(mechanism, reference.interface), InProcess(reference)
        for check in CHECKS:
            planned = cases(check, subject, "quick", 1)
            made[mechanism.id, check.id] = judge(check, subject, planned, executor, Known())
    return made


def test_every_reference_passes_or_is_skipped_with_a_reason(verdicts):
    unexpected = {
        where: (verdict.outcome, verdict.reason, verdict.findings)
        for where, verdict in verdicts.items()
        if verdict.outcome != "passed" and not (verdict.outcome == "skipped" and verdict.reason)
    }
    assert unexpected == {}


def test_every_law_of_a_contract_is_judged_on_its_reference(verdicts):
    silent = [
        (mechanism.id, law.id, verdicts[mechanism.id, law.id].reason)
        for mechanism in MECHANISMS
        for law in mechanism.contract.laws
        if verdicts[mechanism.id, law.id].outcome != "passed"
    ]
    assert silent == []


def test_no_check_is_skipped_for_every_mechanism(verdicts):
    judged = {check for (_, check), verdict in verdicts.items() if verdict.outcome == "passed"}
    assert IDS - judged == set()


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
