"""Contracts and checks belong together: a check for every law, and every reference passes them all."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from attncheck.checks import CHECKS
from attncheck.checks.check import Check, Trial
from attncheck.checks.layers import of_layer
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.model.case import Case
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
# Layers without which a law says as much: it makes them zero itself, or leaves them as they are.
NEEDLESS = {
    "one_key_gives_its_value": ("query", "key", "table"),
    "zero_position_ignores_pixel_order": ("position",),
    "zero_key_and_position_pool_the_mean": ("value", "output"),
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


def loud(check: Check) -> Check:
    """The check, no mistake of which counts as an answer that it could not read."""

    def judge_or_stumble(subject: Subject, case: Case) -> Trial:
        try:
            return (yield from check.judge(subject, case))
        except (RuntimeError, IndexError, ValueError) as error:
            raise AssertionError(f"{check.id} stumbles over the reference's answer to {case}") from error

    return replace(check, judge=judge_or_stumble)


def theme(check: Check) -> str:
    """The file in which a check lives."""
    return check.judge.__module__.rpartition(".")[2]


THEMES = sorted({theme(check) for check in CHECKS})


@cache
def verdicts(mechanism: Mechanism, of: str) -> dict[str, Verdict]:
    """Every check of a file on one reference, at the quick budget."""
    reference = Reference(mechanism)
    subject, executor = Subject(mechanism, reference.interface), InProcess(reference)
    chosen = [loud(check) for check in CHECKS if theme(check) == of]
    return {c.id: judge(c, subject, cases(c, subject, "quick", 1), executor, Known()) for c in chosen}


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.id)
@pytest.mark.parametrize("of", THEMES)
def test_the_reference_passes_its_laws_and_passes_or_skips_the_rest_with_a_reason(mechanism, of):
    laws = {law.id for law in mechanism.contract.laws}
    unexpected = {
        check: (verdict.outcome, verdict.reason, verdict.findings)
        for check, verdict in verdicts(mechanism, of).items()
        if verdict.outcome != "passed"
        and not (verdict.outcome == "skipped" and verdict.reason and check not in laws)
    }
    assert unexpected == {}


ROLES = [
    ("scaled_dot_product", {"x": ("q", "k", "v")}),
    ("scaled_dot_product", {"x": ("q", "k"), "v": ("v",)}),
    ("scaled_dot_product", {"x": ("k", "q"), "v": ("v",)}),
    ("scaled_dot_product", {"x": ("q", "v"), "k": ("k",)}),
    ("scaled_dot_product", {"q": ("q",), "m": ("k", "v")}),
    ("multi_head", {"x": ("q", "k", "v")}),
    ("multi_head", {"x": ("q", "k"), "v": ("v",)}),
    ("dot_product", {"x": ("queries", "keys"), "v": ("values",)}),
    ("cross", {"x": ("x", "y")}),
]


@pytest.mark.parametrize(("mechanism", "inputs"), ROLES)
@pytest.mark.parametrize("of", THEMES)
def test_the_reference_is_not_accused_where_one_tensor_plays_several_roles(mechanism, inputs, of, subject_of):
    subject = subject_of(mechanism, inputs=inputs)
    executor = InProcess(subject.reference)
    chosen = [loud(check) for check in CHECKS if theme(check) == of]
    found = [judge(check, subject, cases(check, subject, "quick", 1), executor, Known()) for check in chosen]

    assert [verdict for verdict in found if verdict.outcome not in ("passed", "skipped")] == []


def layered(of: str) -> Iterator[tuple[Mechanism, Check, str]]:
    """Laws of a file that are about layers alone: mechanism, law and each of its layers."""
    for mechanism in MECHANISMS:
        for check in (check for check in CHECKS if theme(check) == of):
            laws = [law for law in mechanism.contract.laws if law.id == check.id]
            if all(law.parameters for law in laws):
                yield from ((mechanism, check, layer) for law in laws for layer in law.parameters)


@pytest.mark.parametrize("of", [of for of in THEMES if [*layered(of)]])
def test_a_law_about_layers_says_nothing_of_a_target_that_lacks_one(of, verdict, subject_of):
    """But for those that hold as well where the layer counts as zero."""
    unexpected = []
    for mechanism, check, layer in layered(of):
        subject = subject_of(mechanism.id)
        case = next(
            case
            for case in cases(check, subject, "quick", 1)
            if layer in subject.law(check.id, case).parameters
        )
        absent = tuple(of_layer(subject.ask(case), layer))
        outcome = verdict(check.id, mechanism, interface={"absent": absent}, given=[case]).outcome
        if outcome != ("passed" if layer in NEEDLESS.get(check.id, ()) else "skipped"):
            unexpected.append((mechanism.id, check.id, layer, outcome))
    assert unexpected == []


def test_no_check_is_skipped_for_every_mechanism():
    judged = {
        check
        for mechanism in MECHANISMS
        for of in THEMES
        for check, verdict in verdicts(mechanism, of).items()
        if verdict.outcome == "passed"
    }
    # A reference states no convention of its own in words, and takes no fewer tokens than it was made for.
    of_targets = {"contradicts_its_documentation", "shorter_sequences_read_the_middle"}
    assert IDS - judged == NEEDS_DROPOUT | SLOW | of_targets


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
