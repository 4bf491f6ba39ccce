"""The catalogue is complete, cited, and every plain implementation is right before a mistake is made in it."""

import pytest

from attncheck.checks.comparing import agree
from attncheck.checks.oracle import expect
from attncheck.checks.value import with_masks
from attncheck.defects import DEFECTS, EQUIVALENTS
from attncheck.defects.defect import Defect
from attncheck.defects.plain import PLAIN, mutant_of
from attncheck.model.case import Case, Scalar
from attncheck.model.verdict import FAMILIES
from attncheck.strategies.sizes import value
from attncheck.strategies.tolerance import PRECISE
from attncheck.targets.adapter import Reference
from attncheck.targets.bench import Bench
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject
from attnref import MECHANISMS
from attnref.catalogue import BY_ID


def subject_of(mechanism: str) -> Subject:
    return Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface)


def legal_sizes(subject: Subject, options: dict[str, Scalar]) -> dict[str, int] | None:
    """The base, or, where skips need it, as many channels out as in."""
    rules = rules_of(subject, options)
    return rules.planned({}) or rules.planned({"out_channels": rules.base["channels"]})


def base_cases(subject: Subject) -> list[Case]:
    """The base sizes under the defaults and under each option changed alone."""
    start = default_options(subject)
    changed = [{**start, o.name: other} for o in subject.mechanism.contract.options for other in o.values[1:]]
    planned = [(legal_sizes(subject, options), options) for options in (start, *changed)]
    return [Case(sizes, options, seed=i) for sizes, options in planned if sizes is not None for i in range(3)]


def test_every_mechanism_has_known_mistakes() -> None:
    assert {m.id for m in MECHANISMS} == {d.mechanism for d in DEFECTS} == set(PLAIN)


def test_the_catalogue_holds_at_least_two_hundred() -> None:
    assert len(DEFECTS) >= 200


def test_ids_are_unique_and_begin_with_their_mechanism() -> None:
    every = [*DEFECTS, *EQUIVALENTS]

    assert len({d.id for d in every}) == len(every)
    assert all(d.id.startswith(d.mechanism + ".") for d in every)


@pytest.mark.parametrize("mechanism", sorted(PLAIN))
def test_every_mistake_says_what_is_wrong_and_who_made_it(mechanism: str) -> None:
    for defect in (d for d in DEFECTS if d.mechanism == mechanism):
        assert len(defect.sentence) > 20, defect.id
        assert defect.sentence.endswith("."), defect.id
        assert defect.cites, defect.id
        assert defect.family in FAMILIES, defect.id


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.id)
def test_a_predicate_reads_names_of_its_mechanism_only(defect: Defect) -> None:
    (case, *_) = base_cases(subject_of(defect.mechanism))

    # Raises NameError if a name is neither an axis nor an option.
    assert defect.shows == "always" or isinstance(
        bool(value(defect.shows, {"bias": False, **case.names})), bool
    )


@pytest.mark.parametrize("defect", [*DEFECTS, *EQUIVALENTS], ids=lambda d: d.id)
def test_a_mistake_replaces_steps_that_exist(defect: Defect) -> None:
    for step in defect.steps:
        assert hasattr(PLAIN[defect.mechanism], step), step


@pytest.mark.parametrize("mechanism", sorted(PLAIN))
def test_without_a_mistake_the_plain_implementation_is_right(mechanism: str) -> None:
    subject, made = subject_of(mechanism), mutant_of(mechanism)
    assert made is not None
    bench = Bench(made)

    for case in base_cases(subject):
        ask = subject.ask(with_masks(subject, case))
        answer = bench.perform(ask)
        assert answer.trouble is None, str(answer.trouble)
        assert agree(answer.out, expect(subject, ask).out, tolerance=PRECISE) is None, str(case)


def test_two_mistakes_in_one_step_have_no_mutant() -> None:
    missing, inverted = (d for d in DEFECTS if d.id in _SCALES)

    assert mutant_of("scaled_dot_product", missing, inverted) is None


_SCALES = ("scaled_dot_product.scale_missing", "scaled_dot_product.scale_inverted")
