"""`attncheck show`: pages of mechanisms, checks and defects."""

import sys
from types import ModuleType

import pytest
from click.testing import CliRunner

from attncheck.checks import CHECKS
from attncheck.cli import main
from attncheck.defects.defect import Defect
from attncheck.report.pages import check_page, mechanism_page
from attnref import MECHANISMS

MISTAKE = Defect(
    "cross.values_from_keys",
    "cross",
    "values are projected from the projected keys; project them from y",
    ("CA-3",),
    "key_size == head_dim",
    "value",
    {},
    "--expect layout=batch_first",
)


@pytest.fixture(autouse=True)
def defects(monkeypatch):
    module = ModuleType("attncheck.defects")
    module.__path__ = []
    module.DEFECTS = (MISTAKE,)
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
    page = "\n".join(check_page(check, MECHANISMS))

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
    page = mechanism_page(next(m for m in MECHANISMS if m.id == "cross"), (MISTAKE,))

    row = f"  {MISTAKE.id}  {MISTAKE.sentence}"
    assert page[page.index("known mistakes") + 1] == row


def test_the_page_of_a_defect_says_everything_but_its_code():
    result = CliRunner().invoke(main, ["show", MISTAKE.id])

    assert result.output.splitlines() == [
        f"{MISTAKE.id}: {MISTAKE.sentence}",
        "",
        "  mechanism  cross",
        "  family     value",
        "  shows      key_size == head_dim",
        "  counts     with --expect layout=batch_first",
        "",
        "source",
        "  CA-3",
    ]


def test_defects_are_listed_with_their_mechanism():
    result = CliRunner().invoke(main, ["list", "defects"])

    assert result.output == f"{MISTAKE.id}  cross  {MISTAKE.sentence}\n"
