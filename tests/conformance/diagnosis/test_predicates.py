"""The language of predicates: what its words mean, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncheck.diagnosis.predicates import Predicate, equivalent
from attncheck.diagnosis.space import Space

SIZES = st.integers(0, 200)
GRID = Space({"heads": (1, 7), "q_len": (0, 11)}, {"causal": (False, True), "mask": (None, "bool")})


def _holds(text: str, **sizes: int | bool | str | None) -> bool:
    return Predicate(text, accuracy=1.0, judged=40).holds(sizes)


@given(SIZES)
def test_a_power_of_2_has_one_bit(heads: int) -> None:
    assert _holds("heads is a power of 2", heads=heads) == (heads.bit_count() == 1)
    assert _holds("heads is not a power of 2", heads=heads) != (heads.bit_count() == 1)


@given(SIZES)
def test_a_square_is_some_size_times_itself(tokens: int) -> None:
    assert _holds("tokens is a square", tokens=tokens) == (tokens in {side * side for side in range(15)})


@given(SIZES, SIZES)
def test_only_zero_is_a_multiple_of_zero(heads: int, kv_heads: int) -> None:
    expected = heads % kv_heads == 0 if kv_heads else heads == 0

    assert _holds("heads % kv_heads == 0", heads=heads, kv_heads=kv_heads) == expected


@given(SIZES, SIZES, st.booleans())
def test_and_binds_closer_than_or(q_len: int, kv_len: int, causal: bool) -> None:
    told = _holds("q_len == 1 or causal and q_len > kv_len", q_len=q_len, kv_len=kv_len, causal=causal)

    assert told == (q_len == 1 or (causal and q_len > kv_len))


@pytest.mark.parametrize(("text", "expected"), [("mask is None", True), ("mask is not None", False)])
def test_an_absent_option_is_none(text: str, expected: bool) -> None:
    assert expected == _holds(text, mask=None)
    assert expected != _holds(text, mask="bool")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("heads > 3", "heads >= 4"),
        ("not causal and mask == 'bool'", "not (causal or mask is None)"),
        ("heads * q_len == 0", "q_len == 0"),
        ("always", "heads > 0"),
        ("never", "q_len > 11"),
    ],
)
def test_two_wordings_of_one_condition_are_equivalent(one: str, other: str) -> None:
    assert equivalent(one, other, GRID)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("heads > 3", "heads > 4"),
        ("causal", "mask is None"),
        ("q_len == 0", "q_len % 11 == 0"),
        ("always", "heads > 1"),
    ],
)
def test_conditions_that_part_at_one_size_are_not_equivalent(one: str, other: str) -> None:
    assert not equivalent(one, other, GRID)


@pytest.mark.parametrize(
    "text",
    ["heads >", "heads + 1", "1 < heads < 4", "__import__('os')", "heads is prime", "heads.bit_count() == 1"],
)
def test_what_is_no_predicate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected a predicate such as 'heads > 1 and q_len != kv_len', got"):
        _holds(text, heads=4)


def test_a_predicate_on_an_axis_that_the_case_lacks_says_which() -> None:
    with pytest.raises(
        LookupError, match="the predicate speaks of kernel, but the case has only heads, q_len"
    ):
        _holds("kernel > 3", heads=2, q_len=3)


def test_a_thinned_grid_keeps_every_remainder() -> None:
    long = Space({"q_len": (1, 129), "kv_len": (1, 129)})

    for axis in ("q_len", "kv_len"):
        kept = {case[axis] for case in long.grid(2_000)}
        assert {size % 8 for size in kept if isinstance(size, int)} == set(range(8))
    assert not equivalent("q_len % 16 != 0", "always", long, points=2_000)
