"""Every dimension of every annotation is a word of the glossary."""

import re
import typing

import pytest

from attnref import AXES, MECHANISMS
from attnref._signature import read
from attnref.axes import BY_NAME


def callables():
    """Every function and forward whose annotations users read."""
    for mechanism in MECHANISMS:
        yield mechanism, mechanism.call
        if mechanism.module is not None:
            yield mechanism, mechanism.module.forward


def words(function):
    """The names in all dimensions of a function, those inside expressions included."""
    signature = read(function, ("out", "weights"))
    tensors = (*signature.inputs, *signature.outputs)
    dims = [dim for tensor in tensors for dims in tensor.ranks for dim in dims if not dim.variadic]
    return {word for dim in dims for word in re.findall(r"[A-Za-z_]\w*", dim.expression)} - {"max", "min"}


@pytest.mark.parametrize(
    ("mechanism", "function"), [pytest.param(m, f, id=f"{m.id}-{f.__name__}") for m, f in callables()]
)
def test_annotations_use_only_words_of_the_glossary_and_options(mechanism, function):
    options = {option.name for option in mechanism.contract.options}
    unknown = words(function) - set(BY_NAME) - options

    assert words(function)
    assert unknown == set(), f"add {sorted(unknown)} to axes.py or use a word that is there"


@pytest.mark.parametrize("mechanism", [m for m in MECHANISMS if m.module], ids=lambda m: m.id)
def test_sizes_of_constructors_are_words_of_the_glossary(mechanism):
    hints = typing.get_type_hints(mechanism.module.__init__)
    options = {option.name for option in mechanism.contract.options}
    sizes = {name for name, hint in hints.items() if hint in (int, int | None)} - options

    assert sizes <= set(BY_NAME)


def test_each_word_stands_once():
    assert len(BY_NAME) == len(AXES)


def test_no_word_is_another_ones_synonym():
    """One word for one thing: what an axis is also called elsewhere is no axis of ours."""
    clashes = {(axis.name, other) for axis in AXES for other in axis.also_called if other in BY_NAME}

    assert clashes == set()
