"""The articles' own examples pass the shape test at their sizes, and end in findings here."""

from pathlib import Path

import pytest
import torch

from attncheck import Report, run
from attncheck.targets.loading import load

EXAMPLES = Path(__file__).with_name("seven_examples.py")


def judged(target: str, mechanism: str, check: str, *, strict: bool = False) -> Report:
    return run(
        f"{EXAMPLES}:{target}", mechanism=mechanism, checks=(check,), strict=strict, isolate=False, seed=1
    )


@pytest.mark.parametrize(
    ("target", "arguments", "shapes", "shape"),
    [
        ("SELayer", (16,), [(4, 16, 20, 20)], (4, 16, 20, 20)),
        ("CBAttenRes", (3, 16, 3, 2), [(4, 3, 20, 20)], (4, 16, 10, 10)),
        ("SKEConv", (8,), [(4, 8, 10, 10)], (4, 8, 10, 10)),
        ("SelfAttnSpatial", (16,), [(4, 16, 20, 20)], (4, 16, 20, 20)),
        ("SelfAttnChannel", (16, 16), [(4, 16, 20, 20)], (4, 16, 20, 20)),
        ("NonLocalBlock", (8, 4), [(2, 8, 4, 6, 6)], (2, 8, 4, 6, 6)),
        ("CrossAttention", (32, 32, 32, 32), [(1, 32, 32), (1, 32, 32)], (1, 32, 32)),
    ],
)
def test_each_passes_a_plain_test_of_its_shape(
    target: str, arguments: tuple[int, ...], shapes: list[tuple[int, ...]], shape: tuple[int, ...]
) -> None:
    module = load(f"{EXAMPLES}:{target}")(*arguments)

    assert module(*(torch.rand(s) for s in shapes)).shape == shape


@pytest.mark.parametrize(
    ("target", "mechanism", "check", "predicate"),
    [
        ("SELayer", "squeeze_excitation", "gate_keeps_a_unit", "always"),
        ("CBAttenRes", "cbam_block", "runs_at_every_legal_size", "kernel <= 7 and kernel > 3"),
        ("SKEConv", "selective_kernel", "input_gradients_match", "always"),
        ("SelfAttnSpatial", "spatial_self", "runs_at_every_legal_size", "channels <= 7"),
        ("NonLocalBlock", "non_local", "contradicts_its_documentation", "always"),
        ("CrossAttention", "cross", "ignores_opposite_rescaling", "always"),
    ],
)
def test_each_ends_in_a_finding_with_the_sizes_that_show_it(
    target: str, mechanism: str, check: str, predicate: str
) -> None:
    report = judged(target, mechanism, check)

    (finding,) = (f for v in report.verdicts if v.check == check for f in v.findings)
    assert report.exit_code == 1
    assert finding.sizes == predicate


def test_a_convolution_in_the_skip_is_a_variant_with_a_name() -> None:
    # It is not the paper's and has users, so that it fails only where the paper's form is asked for.
    assert judged("SelfAttnChannel", "channel_self", "matches_the_reference").exit_code == 0
    assert judged("SelfAttnChannel", "channel_self", "matches_the_reference", strict=True).exit_code == 1
