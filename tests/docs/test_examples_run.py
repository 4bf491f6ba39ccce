"""What the pages tell a reader to type does what they say."""

import re
from pathlib import Path

import pytest

import attncheck

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files of the page on adapters, in a folder that Python imports from."""
    page = (DOCS / "writing-an-adapter.md").read_text(encoding="utf-8")
    module, adapter = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_attention.py").write_text(module)
    (tmp_path / "my_adapter.py").write_text(adapter)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_adapter_of_the_page_makes_its_module_judgeable(files: Path) -> None:
    report = attncheck.run(
        f"{files}/my_attention.py:Fused", adapter=f"{files}/my_adapter.py:Adapter", budget="quick", seed=0
    )

    judged = {verdict.check for verdict in report.verdicts if verdict.outcome == "passed"}
    assert report.conforms
    assert {"matches_the_reference", "parameter_gradients_match", "samples_do_not_mix"} <= judged


def test_the_same_adapter_lets_a_mistake_be_found(files: Path) -> None:
    module = files / "my_attention.py"
    right, wrong = "attention(q, k, v)", "attention(k, q, v)"
    module.write_text(module.read_text().replace(right, wrong))

    report = attncheck.run(
        f"{files}/my_attention.py:Fused", adapter=f"{files}/my_adapter.py:Adapter", budget="quick", seed=0,
        checks=("matches_the_reference",), explain=False,
    )  # fmt: skip

    assert [verdict.check for verdict in report.failed] == ["matches_the_reference"]
