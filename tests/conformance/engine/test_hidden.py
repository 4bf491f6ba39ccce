"""What plain calls at usual sizes cannot show is caught and named: beyond 2^16 positions, when compiled, in a mode."""

from pathlib import Path

import pytest

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.finding import Finding

TARGETS = Path(__file__).with_name("hidden_targets.py")
# Basics go before every run, a hundred cases of them in this budget.
BASICS = ("runs_at_every_legal_size", "output_has_the_right_shape")


def finding_of(name: str, check: str, budget: str) -> Finding:
    target = f"{TARGETS}:{name}"
    report = run(
        Request(
            target, "scaled_dot_product", checks=(check,), skip=BASICS, budget=budget, seed=1,
            seconds_per_call=60.0,
        )
    )  # fmt: skip
    (verdict,) = report.verdicts
    assert verdict.outcome == "failed", verdict
    return verdict.findings[0]


@pytest.mark.parametrize(
    ("name", "mistake", "sizes"),
    [
        ("counts_keys_in_16_bits", "scaled_dot_product.keys_counted_in_16_bits", "kv_len > 65536"),
        ("counts_rows_in_16_bits", "scaled_dot_product.queries_counted_in_16_bits", "q_len > 65536"),
        # No known mistake, but the length at which it begins.
        ("reads_the_first_keys_again", None, "kv_len > 70001"),
    ],
)
def test_what_is_wrong_only_beyond_65536_positions_is_caught_and_named(name, mistake, sizes):
    finding = finding_of(name, "long_sequences_match", "deep")

    assert (finding.defect, finding.sizes) == (mistake, sizes)
    axis, _, last = sizes.split()
    assert finding.case.sizes[axis] == int(last) + 1


@pytest.mark.parametrize(
    ("check", "budget"), [("export_runs_at_other_sizes", "default"), ("compile_equals_eager", "deep")]
)
def test_what_is_wrong_only_when_compiled_is_caught_and_named(check, budget):
    finding = finding_of("forgets_to_scale_when_compiled", check, budget)

    assert finding.defect == "scaled_dot_product.scale_dropped_when_compiled"


def test_what_is_wrong_only_in_inference_mode_is_caught_and_named():
    finding = finding_of("forgets_to_scale_in_inference_mode", "same_in_inference_mode", "quick")

    assert finding.defect == "scaled_dot_product.scale_dropped_in_inference_mode"


def test_another_mistake_that_shows_only_when_compiled_gets_no_name():
    finding = finding_of("doubles_when_compiled", "export_runs_at_other_sizes", "default")

    assert finding.defect is None
    assert "of the exported program" in finding.expected
