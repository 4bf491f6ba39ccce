"""A gate over channels without a unit is found, a refused ratio and a rounded one are not."""

import textwrap
from pathlib import Path

import pytest

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
