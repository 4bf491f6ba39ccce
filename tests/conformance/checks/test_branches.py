"""Laws of branches: each is broken by a gate that weighs them otherwise."""

import pytest

from attncheck.checks import branches


def loses_a_tenth(out, inputs, built):
    return 0.9 * out


def adds_one(out, inputs, built):
    return out + 1


def reads_one_excite(out, inputs, built):
    return out + built.excite[0].weight.sum()


def reads_the_squeeze(out, inputs, built):
    return out + built.squeeze.weight.sum()


CHANGES = [
    ("equal_branches_give_their_value", loses_a_tenth),
    ("zero_excite_adds_up_branches", adds_one),
    ("ignores_common_branch_logits", reads_one_excite),
    ("one_branch_ignores_the_gate", reads_the_squeeze),
]


@pytest.mark.parametrize(("check", "change"), CHANGES)
def test_branches_that_are_weighed_otherwise_break_their_law(verdict, check, change):
    assert verdict(check, "selective_kernel", change).outcome == "failed"


def test_every_law_of_branches_has_an_implementation_that_breaks_it():
    assert {check.id for check in branches.CHECKS} == {check for check, _ in CHANGES}
