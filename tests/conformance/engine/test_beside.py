"""Slow checks and the proof have a worker of their own, and the report does not show it."""

import textwrap

import pytest

from attncheck.engine import proving
from attncheck.engine.events import CheckFinished
from attncheck.engine.request import Request
from attncheck.engine.run import run

SDPA = "torch.nn.functional:scaled_dot_product_attention"
SHAPE, SLOW, QUICK = "output_has_the_right_shape", "export_runs_at_other_sizes", "ignores_key_order"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine may need longer than a run would wait."""
    monkeypatch.setattr(proving, "SECONDS_IN_A_RUN", 60.0)


def judged(target: str, *checks: str) -> tuple[list[str], dict[str, object]]:
    """The checks in the order in which they ended, and their verdicts in that of the report."""
    ended: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, CheckFinished):
            ended.append(event.verdict.check)

    request = Request(target, "scaled_dot_product", checks=checks, seed=0)
    report = run(request, [listen])
    return ended, {verdict.check: verdict for verdict in report.verdicts}


def test_a_slow_check_ends_after_the_others_and_stands_in_its_place():
    ended, verdicts = judged(SDPA, SHAPE, QUICK, SLOW)

    assert ended[-3:] == [QUICK, SLOW, SHAPE]
    assert list(verdicts)[-3:] == [SHAPE, QUICK, SLOW]
    assert [verdicts[check].outcome for check in (SHAPE, QUICK, SLOW)] == ["passed"] * 3
    assert verdicts[SHAPE].reason.startswith("proved for all sizes")


def test_a_worker_that_is_lost_in_a_slow_check_costs_neither_the_others_nor_the_proof(tmp_path):
    target = tmp_path / "attention.py"
    target.write_text(
        textwrap.dedent("""
        import os
        import torch

        def attend(q, k, v):
            if torch.compiler.is_exporting():
                os._exit(7)
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
        """)
    )

    _, verdicts = judged(f"{target}:attend", SHAPE, QUICK, SLOW)

    assert verdicts[SLOW].outcome == "skipped"
    assert "exit code 7" in verdicts[SLOW].reason
    assert verdicts[QUICK].outcome == "passed"
    assert verdicts[SHAPE].reason.startswith("proved for all sizes")
