"""Laws of position tables: each is broken by a table that is read wrongly or not at all."""

import pytest
import torch

from attncheck.checks import positions


def counts_tokens(out, inputs, built):
    return out + 0.1 * torch.arange(out.shape[1], dtype=out.dtype)[:, None]


def sums_the_table(out, inputs, built):
    return out + built.table.sum()


def sees_every_token(out, inputs, built):
    return out + inputs["x"].mean()


def forgets_the_table(call, built, inputs, options):
    built.table.data.zero_()
    return call(built, inputs, options)


def turns_the_table(call, built, inputs, options):
    built.table.data.copy_(built.table.data.flip(0))
    return call(built, inputs, options)


CHANGES = [
    ("zero_table_forgets_order", counts_tokens),
    ("ignores_shifted_table", sums_the_table),
    ("follows_reversal", counts_tokens),
    ("table_peak_selects_offset", sees_every_token),
]


@pytest.mark.parametrize(("check", "change"), CHANGES)
def test_a_wrong_table_breaks_its_law(verdict, check, change):
    assert verdict(check, "relative_position", change).outcome == "failed"


def test_a_table_that_nobody_reads_is_noticed(verdict):
    assert verdict("depends_on_table", "relative_position", instead=forgets_the_table).outcome == "failed"


def test_a_table_that_is_read_backwards_selects_the_wrong_offset(verdict):
    assert (
        verdict("table_peak_selects_offset", "relative_position", instead=turns_the_table).outcome == "failed"
    )


def test_every_law_of_tables_has_an_implementation_that_breaks_it():
    assert {check.id for check in positions.CHECKS} == {check for check, _ in CHANGES} | {
        "depends_on_table",
        # Of a target that takes them, which the reference does not: see targets/test_short_sequences.
        "shorter_sequences_read_the_middle",
    }
