"""z3 answers as Python computes, or says that it does not know."""

import itertools
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncheck.shapes.expressions import bind, both, either, holds, negation, value
from attncheck.shapes.predicate import simplify
from attncheck.shapes.solver import MISSING, Answer, Solver

AXES = ("height", "width")
DOMAIN = ("height >= 1", "width >= 1")

leaves = st.sampled_from(AXES) | st.integers(1, 9).map(str)
dimensions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(("//", "%")), st.integers(1, 5)).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(st.sampled_from(("max", "min")), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    ),
    max_leaves=5,
)
conditions = st.tuples(dimensions, st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), dimensions).map(
    " ".join
)


@given(condition=conditions, height=st.integers(1, 30), width=st.integers(1, 30))
def test_z3_agrees_with_python_at_every_point(condition, height, width):
    solver = Solver(AXES, DOMAIN)
    point = {"height": height, "width": width}

    found = solver.find(condition, f"height == {height}", f"width == {width}")

    assert found == (point if holds(condition, point) else Answer.NONE)


@given(
    conditions=st.lists(conditions, min_size=1, max_size=3), height=st.integers(1, 9), width=st.integers(1, 9)
)
def test_texts_of_conditions_combine_as_their_values_do(conditions, height, width):
    sizes = {"height": height, "width": width}
    values = [holds(condition, sizes) for condition in conditions]

    assert holds(both(conditions), sizes) is all(values)
    assert holds(either(conditions), sizes) is any(values)
    assert holds(negation(conditions[0]), sizes) is not values[0]
    assert holds(bind(conditions[0], {"height": height}), {"width": width}) is values[0]


def test_the_smallest_point_has_the_smallest_sum():
    solver = Solver(AXES, DOMAIN)

    assert solver.smallest("height > 32", "width % 5 == 0") == {"height": 33, "width": 5}


def test_no_point_is_no_point():
    assert Solver(AXES, DOMAIN).smallest("height < 1") is Answer.NONE


def test_fixed_axes_have_their_size():
    solver = Solver(("width",), ("width >= 1",), {"height": 7})

    assert solver.find("width == height") == {"width": 7}


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("depth > 1", "cannot ask z3 about `depth` over the axes height, width"),
        ("2 ** height > 9", "cannot ask z3 about the operator Pow"),
    ],
)
def test_what_has_no_translation_is_named(condition, reason):
    solver = Solver(AXES, DOMAIN)

    assert not solver.can_ask(condition)
    with pytest.raises(ValueError, match=re.escape(reason)):
        solver.find(condition)


def test_a_missing_z3_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)

    with pytest.raises(ModuleNotFoundError) as error:
        Solver(AXES, DOMAIN)
    assert str(error.value) == MISSING


def test_conditions_that_follow_from_others_are_dropped():
    solver = Solver(AXES, DOMAIN)

    assert solver.essential(["height * width >= 2", "height != 1", "height > 1"]) in (
        ("height != 1",),
        ("height > 1",),
    )


@given(terms=st.lists(st.lists(conditions, min_size=1, max_size=2).map(tuple), min_size=1, max_size=3))
def test_a_simplified_predicate_holds_at_the_same_points(terms):
    predicate = simplify(Solver(AXES, DOMAIN), terms)

    for height, width in itertools.product(range(1, 12), repeat=2):
        sizes = {"height": height, "width": width}
        expected = any(all(holds(atom, sizes) for atom in term) for term in terms)
        assert holds(predicate, sizes) is expected, (predicate, sizes)


@pytest.mark.parametrize(
    ("terms", "predicate"),
    [
        ([("height // 2 == 0", "width != 1"), ("width // 2 < 1",)], "height == 1 or width == 1"),
        ([("height - width != 0",)], "height != width"),
        ([("height * width + 1 != 50",)], "height * width != 49"),
        ([("height * width > 7 * width",)], "height >= 8"),
        ([("height == 1",), ("height != 1",)], "True"),
    ],
)
def test_predicates_read_as_a_person_would_say_them(terms, predicate):
    assert simplify(Solver(AXES, DOMAIN), terms) == predicate


def test_a_bound_rule_keeps_what_is_not_decided():
    rule = "rank != 1 or not sub_sample or length >= 2"

    assert bind(rule, {"rank": 1, "sub_sample": True}) == "length >= 2"
    assert bind(rule, {"rank": 2, "sub_sample": True}) == "True"
    assert value(bind("4 if block == 'bottleneck' else 1", {"block": "basic"}), {}) == 1
