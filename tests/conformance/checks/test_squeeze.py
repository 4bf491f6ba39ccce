"""A gate over channels without a unit is found, a refused ratio and a rounded one are not."""

import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attncheck.checks.squeeze import gate_keeps_a_unit
from attncheck.engine.request import Request
from attncheck.engine.run import run

_MODULE = """
import torch
from torch import nn


class SELayer(nn.Module):
    def __init__(self, channel, reduction=16):
        super().__init__()
        hidden = {hidden}
        self.squeeze = nn.Linear(channel, hidden)
        self.excite = nn.Linear(hidden, channel)

    def forward(self, x):
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3))))).sigmoid()
        return x * gate[..., None, None]
"""


class OneUnit(nn.Module):
    """A gate without biases whose least is one unit, which sleeps for half of all inputs."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Parameter(torch.randn(hidden, channels))
        self.excite = nn.Parameter(torch.randn(channels, hidden))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(x.mean((2, 3)) @ self.squeeze.mT)
        return x * (hidden @ self.excite.mT).sigmoid()[..., None, None]


@pytest.mark.parametrize("seed", [32, 36, 46, 62, 108])
def test_a_unit_that_sleeps_for_some_inputs_is_a_unit(seed: int) -> None:
    torch.manual_seed(seed)
    request = Request(
        OneUnit, "squeeze_excitation", checks=("gate_keeps_a_unit",), seed=seed, explain=False, isolate=False
    )

    report = run(request)

    assert [v.outcome for v in report.verdicts if v.check == "gate_keeps_a_unit"] == ["passed"]


class OfAWidth(OneUnit):
    """Told how many units there are, not how many channels share one."""

    def __init__(self, channels: int, squeeze_dim: int) -> None:
        super().__init__(channels, 1)
        self.squeeze = nn.Parameter(torch.randn(squeeze_dim, channels))
        self.excite = nn.Parameter(torch.randn(channels, squeeze_dim))


def test_a_target_that_is_told_the_width_is_not_asked_for_a_width_of_nothing() -> None:
    request = Request(
        OfAWidth, "squeeze_excitation", checks=("gate_keeps_a_unit",), seed=3, explain=False, isolate=False
    )

    (verdict,) = (v for v in run(request).verdicts if v.check == "gate_keeps_a_unit")

    assert verdict.outcome == "skipped"
    assert "told the width itself" in verdict.reason


def test_a_ratio_that_nobody_chooses_is_not_asked_for(subject_of) -> None:
    applies = gate_keeps_a_unit.applies

    assert applies(subject_of("cbam_channel")) is None
    for fixed in ({"fixed": {"reduction": 4}}, {"derived": {"reduction": "channels"}}):
        assert applies(subject_of("cbam_channel", **fixed)) == "the target fixes its squeeze ratio"
    assert "is no law of cbam_spatial" in applies(subject_of("cbam_spatial"))


@pytest.mark.parametrize(
    ("hidden", "outcome"),
    [("channel // reduction", "failed"), ("max(1, channel // reduction)", "passed")],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_gate_without_a_unit_is_found_and_one_with_a_unit_is_not(
    tmp_path: Path, hidden: str, outcome: str
) -> None:
    file = tmp_path / f"gate_{outcome}.py"
    file.write_text(textwrap.dedent(_MODULE.format(hidden=hidden)))

    report = run(
        Request(f"{file}:SELayer", "squeeze_excitation", checks=("gate_keeps_a_unit",), seed=3, explain=False)
    )

    verdicts = {verdict.check: verdict.outcome for verdict in report.verdicts}
    assert verdicts["gate_keeps_a_unit"] == outcome
