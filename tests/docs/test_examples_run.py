"""What the pages tell a reader to type does what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import attncheck

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files of the page on adapters, in a folder that Python imports from."""
    page = (DOCS / "writing-an-adapter.md").read_text(encoding="utf-8")
    module, adapter, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
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


def test_a_function_that_is_handed_its_weights_becomes_a_class_that_owns_them() -> None:
    def cross_attention(x: Tensor, y: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
        return ((x @ w_q.mT) @ (y @ w_k.mT).mT).softmax(-1) @ (y @ w_v)

    page = (DOCS / "writing-an-adapter.md").read_text(encoding="utf-8")
    *_, example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"cross_attention": cross_attention}

    exec(example, names)
    module = names["CrossAttention"](query_size=3, key_size=5, head_dim=4, v_dim=2)

    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {
        "w_q": (4, 3),
        "w_k": (4, 5),
        "w_v": (5, 2),
    }
    assert module(torch.ones(1, 6, 3), torch.ones(1, 7, 5)).shape == (1, 6, 2)
