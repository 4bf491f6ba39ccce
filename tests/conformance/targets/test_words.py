"""An option of the reference is recognised by the words between which a target chooses."""

import inspect
from typing import Literal

import pytest
import torch
from torch.nn.functional import relu, silu

from attncheck.targets.words import spoken, words_read
from attnref._mechanism import Option

PAIRWISE = Option("pairwise", ("embedded_gaussian", "dot_product"), "how")
KNOWN = {"relu": relu, "swish": silu}


class Compared:
    def __init__(self, kind: str = "gaussian") -> None:
        self._kind = kind

    def forward(self) -> int:
        return 1 if self._kind == "dot" else 2


class OneOfThree:
    def __init__(self, kind: str = "embedded_gaussian") -> None:
        assert kind in ("gaussian", "embedded_gaussian", "dot_product")


class Looked:
    def __init__(self, kind: str = "dot") -> None:
        self.way = {"dot": 1, "softmax": 2}[kind]


class Matched:
    def __init__(self, kind: str = "softmax") -> None:
        match kind:
            case "softmax":
                self.way = 1
            case "dot":
                self.way = 2


class Annotated:
    def __init__(self, kind: Literal["dot", "softmax"] = "softmax") -> None:
        self.kind = kind


class Named:
    def __init__(self, act: str = "relu") -> None:
        self.act = KNOWN[act]


class OfOtherThings:
    def __init__(self, kind: str = "zeros") -> None:
        self.way = {"zeros": 1, "reflect": 2}[kind]


class Required:
    def __init__(self, kind: str) -> None:
        assert kind in ("dot", "general")


@pytest.mark.parametrize(
    ("target", "expression"),
    [
        (Compared, "{'embedded_gaussian': 'gaussian', 'dot_product': 'dot'}[pairwise]"),
        (OneOfThree, "pairwise"),
        (Looked, "{'embedded_gaussian': 'softmax', 'dot_product': 'dot'}[pairwise]"),
        (Matched, "{'embedded_gaussian': 'softmax', 'dot_product': 'dot'}[pairwise]"),
        (Annotated, "{'embedded_gaussian': 'softmax', 'dot_product': 'dot'}[pairwise]"),
        (OfOtherThings, None),
        (Required, None),
    ],
)
def test_words_are_read_where_they_are_compared_looked_up_matched_or_annotated(
    target: type, expression: str | None
) -> None:
    assert spoken(target, inspect.signature(target).parameters["kind"], PAIRWISE) == expression


def test_a_word_may_be_looked_up_in_a_table_of_the_module() -> None:
    option = Option("activation", ("relu", "silu"), "what bends")
    told = spoken(Named, inspect.signature(Named).parameters["act"], option)

    assert told == "{'relu': 'relu', 'silu': 'swish'}[activation]"


def test_the_words_of_a_required_argument_are_expressions() -> None:
    assert words_read(Required) == {"kind": ["'dot'", "'general'"]}
    assert words_read(Compared) == {}


def test_a_function_of_c_has_no_words() -> None:
    assert words_read(torch.Tensor) == {}
