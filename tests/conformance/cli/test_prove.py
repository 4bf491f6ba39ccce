"""`attncheck prove`: what it prints and how it exits, for targets that keep their shapes and some that do not."""

import pytest
from click.testing import CliRunner

from attncheck.cli import main
from attncheck.engine import proving
from attncheck.engine.request import Request
from attncheck.engine.run import run

pytest.importorskip("z3", reason="a proof needs z3-solver")

SQUARE = '''
import torch

def attention(q, k, v):
    """Right, but for one number of keys at which it takes the wrong axis."""
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    out = weights @ v
    return out[:, :1] if k.shape[2] == 13 else out


def right(q, k, v):
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v


def by_value(q, k, v):
    if q.sum().item() > 1e9:
        q = -q
    return right(q, k, v)
'''


def prove(tmp_path, name, *options):
    path = tmp_path / "targets_to_prove.py"
    path.write_text(SQUARE)
    return CliRunner().invoke(main, ["prove", f"{path}:{name}", "-m", "scaled_dot_product", *options])


def test_a_right_function_is_proved_for_all_sizes(tmp_path):
    result = prove(tmp_path, "right")

    assert result.exit_code == 0, result.output
    assert result.output.startswith("proved for all sizes >= 1")
    assert "torch's meta kernels are trusted" in result.output


def test_a_size_that_no_sample_meets_is_found(tmp_path):
    result = prove(tmp_path, "attention")

    assert result.exit_code == 1, result.output
    assert result.output.startswith("refuted: it breaks exactly where ")
    assert "kv_len == 13" in result.output.splitlines()[0]


def test_a_way_that_depends_on_values_leaves_it_open(tmp_path):
    result = prove(tmp_path, "by_value")

    assert result.exit_code == 3, result.output
    assert result.output.startswith("open: neither proved nor refuted")


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "masked_softmax"])
def test_a_reference_is_named_by_its_mechanism(mechanism):
    result = CliRunner().invoke(main, ["prove", mechanism])

    assert result.exit_code == 0, result.output
    assert result.output.startswith("proved for all sizes >= 1")


def test_without_z3_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    result = CliRunner().invoke(main, ["prove", "cross"])

    assert result.exit_code == 2
    assert "a proof needs z3; install it with: pip install 'attncheck[proof]'" in result.output


# The widths have their base sizes: with six symbols there are 64 paths, which a run has no time for.
IN_A_RUN = "proved for all sizes >= 1 of batch, heads, q_len, kv_len"


@pytest.mark.parametrize(("budget", "reason"), [("default", IN_A_RUN), ("quick", "")])
def test_the_verdict_on_shapes_carries_the_proof_unless_the_run_is_quick(
    tmp_path, monkeypatch, budget, reason
):
    # A busy machine may need longer than a run would wait.
    monkeypatch.setattr(proving, "SECONDS_IN_A_RUN", 60.0)
    path = tmp_path / "targets_of_a_run.py"
    path.write_text(SQUARE)
    checks = ("runs_at_every_legal_size", "output_has_the_right_shape")

    report = run(Request(f"{path}:right", "scaled_dot_product", checks=checks, budget=budget, seed=1))

    (verdict,) = [v for v in report.verdicts if v.check == "output_has_the_right_shape"]
    assert verdict.outcome == "passed"
    assert verdict.reason == reason
