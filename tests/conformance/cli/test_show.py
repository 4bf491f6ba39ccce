"""`attncheck show`: pages of mechanisms, checks and defects."""

import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest
from click.testing import CliRunner

from attncheck.checks import CHECKS
from attncheck.cli import main
from attncheck.report.pages import check_page, mechanism_page
from attnref import MECHANISMS


@dataclass(frozen=True)
class Mistake:
    """A known mistake made up for these tests."""

    id: str = "cross_values_from_keys"
    mechanism: str = "cross"
    meaning: str = "values are projected from the projected keys"
    needs: dict[str, str] = field(default_factory=lambda: {"mask_polarity": "true_attends"})


@pytest.fixture(autouse=True)
def defects(monkeypatch):
    module = ModuleType("attncheck.defects")
    module.DEFECTS = (Mistake(),)
    monkeypatch.setitem(sys.modules, "attncheck.defects", module)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda m: m.id)
def test_the_page_of_a_mechanism_names_its_formula_tensors_laws_and_source(mechanism):
    page = "\n".join(mechanism_page(mechanism, ()))

    expected = [mechanism.title, mechanism.formula, *mechanism.outputs, mechanism.cite[0].url]
    expected += [law.id for law in mechanism.contract.laws]
    expected += [rule.holds for rule in mechanism.contract.rules]
    assert [text for text in expected if text not in page] == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.id)
def test_the_page_of_a_check_names_its_claim_and_where_it_is_a_law(check):
    page = "\n".join(check_page(check, MECHANISMS, ()))

    holders = [m.id for m in MECHANISMS if any(law.id == check.id for law in m.contract.laws)]
    assert [text for text in (check.claim, check.doc, *holders) if text not in page] == []


def test_show_prints_the_page_of_a_mechanism():
    output = CliRunner().invoke(main, ["show", "cross"]).output

    assert output.splitlines()[:5] == [
        "cross: Cross-attention",
        "",
        "inputs",
        "  x     float  (batch, q_len, query_size)",
        "  y     float  (batch, kv_len, key_size)",
    ]


def test_a_typo_suggests_the_nearest_name():
    result = CliRunner().invoke(main, ["show", "crosss"])

    assert result.exit_code == 2
    expected = (
        "attncheck: no mechanism, check or defect is called 'crosss'; did you mean 'cross'? "
        "(attncheck list mechanisms, list checks and list defects show all)\n"
    )
    assert result.stderr == expected


def test_a_mechanism_shows_its_known_mistakes():
    page = mechanism_page(next(m for m in MECHANISMS if m.id == "cross"), (Mistake(),))

    row = "  cross_values_from_keys  values are projected from the projected keys"
    assert page[page.index("known mistakes") + 1] == row


def test_the_page_of_a_defect_says_everything_but_its_code():
    result = CliRunner().invoke(main, ["show", "cross_values_from_keys"])

    assert result.output.splitlines() == [
        "cross_values_from_keys: values are projected from the projected keys",
        "",
        "  id         cross_values_from_keys",
        "  mechanism  cross",
        "  meaning    values are projected from the projected keys",
        "  needs      mask_polarity=true_attends",
    ]


def test_defects_are_listed_with_their_mechanism():
    result = CliRunner().invoke(main, ["list", "defects"])

    assert result.output == "cross_values_from_keys  cross  values are projected from the projected keys\n"
