"""A target that exits, crashes, hangs, hoards, patches torch or floods the console costs its own cells and no others."""

from pathlib import Path

import pytest

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.report import Report
from attncheck.report.jsonl import JsonLines, load

TARGET = """
import ctypes, os, sys, time
import torch

def attend(q, k, v):
    if k.shape[2] == 1 and q.shape[2] > 1:
        {prank}
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
"""
RETURNS = "runs_at_every_legal_size"
OTHERS = ("matches_the_reference", "follows_query_order", "ignores_key_order")
FATAL = {
    "exits with success": "os._exit(0)",
    "reads address zero": "ctypes.string_at(0)",
    "never ends": "while True: time.sleep(0.01)",
    "takes 100 GB": "torch.empty(100 << 30, dtype=torch.uint8)",
}
HARMLESS = {
    "replaces torch.allclose": "torch.allclose = torch.equal = lambda *a, **k: True",
    "prints 10 MB": "print('x' * 10_000_000); print('y' * 10_000_000, file=sys.stderr)",
}


def judged(folder: Path, prank: str) -> Report:
    """The report as a reader of its file sees it."""
    path = folder / "pranked.py"
    path.write_text(TARGET.format(prank=prank))
    file = folder / "report.jsonl"
    request = Request(
        f"{path}:attend", "scaled_dot_product", checks=OTHERS, budget="quick", seed=3,
        dtypes=("float64",), explain=False, seconds_per_call=2.0,
    )  # fmt: skip
    with file.open("w", encoding="utf-8") as stream:
        run(request, [JsonLines(stream)])
    (report,) = load(str(file))
    return report


def outcomes(report: Report) -> dict[str, str]:
    return {v.check: v.outcome for v in report.verdicts}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The verdicts on the same target without a prank."""
    return outcomes(judged(tmp_path_factory.mktemp("honest"), "pass"))


def test_the_target_without_a_prank_conforms(honest: dict[str, str]) -> None:
    assert set(honest.values()) == {"passed"}


@pytest.mark.parametrize("prank", FATAL.values(), ids=FATAL)
def test_a_fatal_prank_is_a_finding_and_no_other_verdict_differs(
    prank: str, honest: dict[str, str], tmp_path: Path
) -> None:
    report = judged(tmp_path, prank)

    assert report.complete
    # The check that every legal call returns finds it; what never meets it stays as it was.
    assert [v.check for v in report.failed] == [RETURNS]
    assert report.failed[0].findings[0].case.sizes["kv_len"] == 1
    unmoved = {check: outcome for check, outcome in outcomes(report).items() if check in OTHERS}
    assert unmoved == {check: honest[check] for check in OTHERS}


@pytest.mark.parametrize("prank", HARMLESS.values(), ids=HARMLESS)
def test_a_prank_on_the_judge_changes_no_verdict(prank: str, honest: dict[str, str], tmp_path: Path) -> None:
    report = judged(tmp_path, prank)

    assert report.complete
    assert outcomes(report) == honest


def test_a_target_that_patches_torch_does_not_pass_by_it(tmp_path: Path) -> None:
    """The patch makes everything close, and the values are wrong: the judge's torch is its own."""
    report = judged(tmp_path, "torch.allclose = lambda *a, **k: True\n    q = 2 * q")

    assert "matches_the_reference" in {v.check for v in report.failed}
