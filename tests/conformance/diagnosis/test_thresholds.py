"""Where failing begins is found with few questions, and told only if every answer fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncheck.diagnosis.thresholds import threshold

SHORT = {"q_len": 5, "kv_len": 7}
SECONDS = 1000.0


@given(st.integers(8, 80_000), st.integers(80_001, 90_000))
def test_the_last_right_length_is_found(last, length):
    asked = []

    def fails(sizes):
        asked.append(sizes)
        return sizes["kv_len"] > last

    found = threshold({"q_len": 61, "kv_len": length}, SHORT, fails, SECONDS)

    assert (found.sizes, found.text) == ({"q_len": 5, "kv_len": last + 1}, f"kv_len > {last}")
    assert len(asked) < 30


def test_a_power_of_two_is_found_with_few_questions():
    asked = []

    def fails(sizes):
        asked.append(sizes)
        return sizes["kv_len"] > 65536

    threshold({"q_len": 5, "kv_len": 81921}, SHORT, fails, SECONDS)

    assert len(asked) <= 6


def test_pixels_are_counted_where_both_sides_are_long():
    found = threshold(
        {"height": 257, "width": 256}, {"height": 5, "width": 7},
        lambda sizes: sizes["height"] * sizes["width"] > 65536, SECONDS,
    )  # fmt: skip

    assert found.text == "height * width > 65536"
    assert found.sizes == {"height": 65537, "width": 1}


def test_a_side_alone_is_not_told_as_pixels():
    found = threshold(
        {"height": 257, "width": 256}, {"height": 5, "width": 7}, lambda sizes: sizes["height"] > 256, SECONDS
    )

    assert found.text == "height > 256"


def test_what_comes_and_goes_with_the_length_has_no_predicate():
    found = threshold({"q_len": 5, "kv_len": 81921}, SHORT, lambda sizes: sizes["kv_len"] % 2 == 1, SECONDS)

    assert found.text is None
    assert found.sizes["kv_len"] % 2 == 1


def test_what_is_right_again_beyond_has_no_predicate_and_the_least_length():
    found = threshold(
        {"q_len": 5, "kv_len": 129},
        SHORT,
        lambda sizes: sizes["kv_len"] > 32 and sizes["kv_len"] % 32 > 0,
        SECONDS,
    )

    assert (found.sizes["kv_len"], found.text) == (33, None)


@pytest.mark.parametrize("seconds", [0.0, SECONDS])
def test_lengths_that_fail_only_together_are_left_as_they_are(seconds):
    sizes = {"q_len": 65600, "kv_len": 65600}

    found = threshold(sizes, SHORT, lambda s: s["q_len"] * s["kv_len"] > 2**32, seconds)

    assert (found.sizes, found.text) == (sizes, None)
