"""The cases of a check: legal, repeatable from the seed, boundaries before chance."""

import pytest

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.plan import EXTENTS, cases
from attncheck.engine.request import BUDGETS, Budget
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID


def subject(mechanism: str) -> Subject:
    return Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface)


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head", "squeeze_excitation"])
def test_a_seed_repeats_its_cases(mechanism: str) -> None:
    check = CHECKS["matches_the_reference"]

    assert cases(check, subject(mechanism), "quick", 5) == cases(check, subject(mechanism), "quick", 5)


def test_another_seed_gives_other_cases() -> None:
    check = CHECKS["matches_the_reference"]

    assert cases(check, subject("cross"), "quick", 5) != cases(check, subject("cross"), "quick", 6)


@pytest.mark.parametrize("mechanism", ["multi_head", "squeeze_excitation", "cbam_spatial"])
def test_every_case_obeys_the_rules_of_the_contract(mechanism: str) -> None:
    rules = BY_ID[mechanism].contract.rules

    for case in cases(CHECKS["runs_at_every_legal_size"], subject(mechanism), "default", 3):
        for rule in rules:
            assert eval(rule.holds, {"max": max, "min": min}, dict(case.names)), (rule.holds, case)


@pytest.mark.parametrize("budget", BUDGETS[:2])
def test_no_axis_is_longer_than_the_budget_says(budget: Budget) -> None:
    planned = cases(CHECKS["ignores_key_order"], subject("scaled_dot_product"), budget, 3)

    assert max(max(case.sizes.values()) for case in planned) <= EXTENTS[budget].long


def test_the_first_case_has_different_sizes_everywhere() -> None:
    first = cases(CHECKS["runs_at_every_legal_size"], subject("scaled_dot_product"), "quick", 3)[0]

    assert len(set(first.sizes.values())) == len(first.sizes)


def test_seeds_of_cases_are_distinct() -> None:
    planned = cases(CHECKS["matches_the_reference"], subject("multi_head"), "default", 3)

    assert len({case.seed for case in planned}) == len(planned)


def test_a_check_of_all_options_meets_each_value() -> None:
    mechanism = BY_ID["multi_head"]
    planned = cases(CHECKS["matches_the_reference"], subject("multi_head"), "quick", 3)

    for option in mechanism.contract.options:
        assert {case.options[option.name] for case in planned} == set(option.values)


@pytest.mark.parametrize("mechanism", ["spatial_self", "channel_self"])
def test_where_the_base_sizes_forbid_an_option_all_are_met_at_sizes_that_each_allows(mechanism: str) -> None:
    planned = cases(CHECKS["matches_the_reference"], subject(mechanism), "default", 3)
    met: dict[tuple[object, ...], set[tuple[object, ...]]] = {}
    for case in planned:
        met.setdefault(tuple(case.sizes.items()), set()).add(tuple(case.options.items()))

    product = 1
    for option in BY_ID[mechanism].contract.options:
        product *= len(option.values)

    assert max(map(len, met.values())) == product


def test_values_as_wide_as_the_map_meet_a_projection_under_every_seed() -> None:
    for seed in range(5):
        planned = cases(CHECKS["matches_the_reference"], subject("spatial_self"), "default", seed)

        fits = [c for c in planned if c.sizes["v_dim"] == c.sizes["channels"]]
        assert {(c.options["projected"], c.options["pool"]) for c in fits} >= {
            (True, 1),
            (True, 2),
            (False, 1),
        }


@pytest.mark.parametrize("seed", range(20))
def test_every_causal_alignment_meets_more_queries_than_keys(seed: int) -> None:
    """Alignments part there, and a draw may never come by."""
    planned = cases(CHECKS["matches_the_reference"], subject("scaled_dot_product"), "default", seed)

    met = {
        case.options["alignment"]
        for case in planned
        if case.options["causal"] and case.sizes["q_len"] > case.sizes["kv_len"] > 1
    }
    assert met == {"upper_left", "lower_right"}
