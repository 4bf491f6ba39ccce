"""Configurations that are dictionaries: their entries are arguments of their names and defaults."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from attncheck.targets import search
from attncheck.targets.configuring import entries_read
from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attncheck.targets.phrasing import construction
from attnref.catalogue import BY_ID

DEFAULTS = {"channels": 16, "ratio": 4, "act": None}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


class Gate(nn.Module):
    def made(self, channels: int, ratio: int) -> None:
        self.down = nn.Parameter(torch.randn(channels // ratio, channels, 1, 1))
        self.up = nn.Parameter(torch.randn(channels, channels // ratio, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        squeezed = conv2d(x.mean((2, 3), keepdim=True), self.down).relu()
        return x * conv2d(squeezed, self.up).sigmoid()


class ByIndex(Gate):
    def __init__(self, config: dict[str, int]) -> None:
        super().__init__()
        self.made(config["channels"], config.get("ratio", 4))


class OverDefaults(Gate):
    def __init__(self, opts: dict[str, Any] | None = None) -> None:
        super().__init__()
        chosen = {**DEFAULTS, **(opts or {})}
        self.made(chosen["channels"], chosen["ratio"])


class OfItsOwn(Gate):
    def __init__(self, sizes: dict[str, int] = {"channels": 8, "ratio": 2}) -> None:  # noqa: B006  # as published
        super().__init__()
        self.made(sizes["channels"], sizes["ratio"])


class Named(Gate):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = {**DEFAULTS, **options}
        self.made(self.options["channels"], self.options["ratio"])


@pytest.mark.parametrize("target", [ByIndex, OverDefaults, OfItsOwn, Named])
def test_entries_of_a_dictionary_are_sizes_by_their_names(target: type[nn.Module]) -> None:
    found = discover(target, BY_ID["squeeze_excitation"])

    assert found.certainty == "verified"
    assert (found.made_as == "dict") is (target is not Named)
    assert {"channels": "channels", "ratio": "reduction"}.items() <= found.arguments.items()
    assert Found.from_json(found.to_json()) == found


def parameter(target: type) -> inspect.Parameter:
    return next(iter(inspect.signature(target).parameters.values()))


@pytest.mark.parametrize(
    ("target", "entries"),
    [
        (ByIndex, {"channels": inspect.Parameter.empty, "ratio": 4}),
        (OverDefaults, DEFAULTS),
        (OfItsOwn, {"channels": 8, "ratio": 2}),
        (Named, DEFAULTS),
    ],
)
def test_an_entry_has_the_default_that_the_source_gives_it(target: type, entries: dict[str, Any]) -> None:
    assert {e.name: e.default for e in entries_read(target, parameter(target))} == entries


def test_an_argument_that_is_no_dictionary_has_no_entries() -> None:
    assert entries_read(nn.Linear, parameter(nn.Linear)) == []


def test_a_dictionary_is_printed_as_one() -> None:
    found = Found(
        "squeeze_excitation", "", {}, (), arguments={"ratio": "reduction"}, config="opts", made_as="dict"
    )

    assert construction(found, "Gate") == "Gate(dict(ratio=reduction))"


class OfKeywords(Gate):
    def __init__(self, spec: dict[str, int]) -> None:
        super().__init__()
        self.made(spec["in"], spec.get("ratio", 4))


def test_an_entry_may_be_called_by_a_word_that_no_argument_can_have() -> None:
    found = discover(OfKeywords, BY_ID["squeeze_excitation"])

    assert found.certainty == "verified"
    assert construction(found, "OfKeywords") == "OfKeywords({'ratio': reduction, 'in': channels})"
