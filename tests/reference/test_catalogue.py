"""Contracts speak of things that exist: axes, tensors, parameters, options."""

import inspect

import pytest

from attnref import MECHANISMS
from attnref._signature import read
from attnref.axes import BY_NAME

EXAMPLE_SIZES = {
    "additive": {"query_size": 3, "key_size": 5, "hidden": 7},
    "kernel_regression": {},
    "multi_head": {"model_dim": 6, "heads": 3},
    "cross": {"query_size": 3, "key_size": 5, "head_dim": 7, "v_dim": 11},
    "relative_position": {"model_dim": 6, "heads": 3, "tokens": 5},
}


def laws(mechanism):
    contract = mechanism.contract
    return (*contract.laws, *(broken.law for broken in contract.broken_laws))


@pytest.fixture(params=MECHANISMS, ids=lambda m: m.id)
def mechanism(request):
    return request.param


def test_every_mechanism_has_five_laws_and_a_citation(mechanism):
    assert len(mechanism.contract.laws) >= 5
    assert all(c.title and c.url.startswith("https://") for c in mechanism.cite)
    assert mechanism.cite
    assert mechanism.formula


def test_no_law_is_said_to_hold_and_to_break(mechanism):
    broken = {b.law for b in mechanism.contract.broken_laws}

    assert not broken & set(mechanism.contract.laws)
    assert len(set(mechanism.contract.laws)) == len(mechanism.contract.laws)


def test_laws_name_axes_of_the_glossary_and_inputs_of_the_call(mechanism):
    asked = [mechanism.call] if mechanism.module is None else [mechanism.call, mechanism.module.forward]
    inputs = {tensor.name for function in asked for tensor in read(function).inputs}

    for law in laws(mechanism):
        assert set(law.axes) <= set(BY_NAME), law.id
        assert set(law.inputs) <= inputs, law.id


@pytest.mark.parametrize("id", EXAMPLE_SIZES)
def test_laws_name_parameters_of_the_module(id):
    mechanism = next(m for m in MECHANISMS if m.id == id)
    module = mechanism.module(**EXAMPLE_SIZES[id])
    parts = {name for name, _ in module.named_modules()} | {name for name, _ in module.named_parameters()}

    for law in laws(mechanism):
        assert set(law.parameters) <= parts, law.id


def test_options_are_keywords_with_these_defaults(mechanism):
    module = mechanism.module
    # A module states defaults where it is built or where it is called, never in both.
    takers = [mechanism.call] if module is None else [module.__init__, module.forward]

    for option in mechanism.contract.options:
        found = [inspect.signature(taker).parameters.get(option.name) for taker in takers]
        defaults = [(type(p.default), p.default) for p in found if p is not None]
        assert defaults == [(type(option.values[0]), option.values[0])], option.name


def test_lengths_name_an_integer_input_and_an_axis(mechanism):
    for name, axis in mechanism.contract.lengths.items():
        assert read(mechanism.call)[name].kind == "int"
        assert axis in BY_NAME


def test_rules_and_conditions_are_expressions(mechanism):
    for expression in (
        *(r.holds for r in mechanism.contract.rules),
        *(w.when for w in laws(mechanism) if w.when),
    ):
        compile(expression, mechanism.id, "eval")
