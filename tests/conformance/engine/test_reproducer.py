"""A reproducer fails on the wrong implementation, passes on the right one, and fits on a screen."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from attncheck.checks import BY_ID as CHECKS
from attncheck.engine.judging import Known, judge
from attncheck.engine.opening import Opened
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.reproducer import MOST_LINES, reproducer, shows
from attncheck.engine.shrink import smallest
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.loading import load
from attncheck.targets.opening import find_for
from attncheck.targets.subject import Subject

FUNCTION = """
import math, torch
def attend(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ value
"""
HEADS_LAST = """
import torch
def flash(q, k, v, is_causal=False):
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
    if is_causal:
        hidden = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)
"""
CROSS = """
import torch
from torch import nn
class Cross(nn.Module):
    def __init__(self, dim_x, dim_y, hidden_dim):
        super().__init__()
        self.to_q = nn.Linear(dim_x, hidden_dim)
        self.to_k = nn.Linear(dim_y, hidden_dim)
        self.to_v = nn.Linear(dim_y, hidden_dim)
    def forward(self, x, y):
        q, k, v = self.to_q(x), self.to_k(y), self.to_v(y)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return weights @ v
"""
DROPPING = CROSS.replace("self.to_q =", "self.drop = nn.Dropout(0.1)\n        self.to_q =", 1).replace(
    "return weights @ v", "return self.drop(weights) @ v"
)
PACKED = """
import torch
from torch import nn
class Attention(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.mT * (c // self.num_heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))
"""


@dataclass(frozen=True)
class Mistake:
    """A right implementation, what is wrong in its copy, and the check that says so."""

    check: str
    mechanism: str
    name: str
    right: str
    old: str
    new: str

    @property
    def wrong(self) -> str:
        assert self.old in self.right, f"{self.old!r} is not in the right one"
        return self.right.replace(self.old, self.new)


_SDP, _MHA = "scaled_dot_product", "multi_head"
_IN_PLACE = "query *= 2\n    scores = query / 2"
_NO_QUERY = "self.to_k(y).mean(1, keepdim=True).expand(-1, x.shape[1], -1)"
_ONE_QUERY = "scores.squeeze(2).softmax"
MISTAKES = (
    Mistake("queries_do_not_mix", _SDP, "attend", FUNCTION, "softmax(-1)", "softmax(-2)"),
    Mistake("ignores_key_order", _SDP, "attend", FUNCTION, "@ value", "@ value.flip(-2)"),
    Mistake("weights_sum_to_one", _SDP, "attend", FUNCTION, "softmax(-1)", "sigmoid()"),
    Mistake("hidden_keys_have_no_influence", _SDP, "attend", FUNCTION, 'float("-inf")', "-1.0"),
    Mistake("full_mask_changes_nothing", _SDP, "attend", FUNCTION, "~mask,", "mask,"),
    Mistake("never_mutates_inputs", _SDP, "attend", FUNCTION, "scores = query", _IN_PLACE),
    Mistake("matches_the_reference", _SDP, "attend", FUNCTION, "query.shape[-1])", "query.shape[-1] + 1)"),
    Mistake("samples_do_not_mix", _SDP, "flash", HEADS_LAST, ", v)", ", v.flip(0))"),
    Mistake("causal_sees_no_future", _SDP, "flash", HEADS_LAST, "triu(1)", "triu(2)"),
    Mistake("runs_at_every_legal_size", _SDP, "flash", HEADS_LAST, "scores.softmax", _ONE_QUERY),
    Mistake("one_key_gives_its_value", "cross", "Cross", CROSS, "weights @ v", "weights @ v + q"),
    Mistake("input_gradients_match", "cross", "Cross", CROSS, "self.to_k(y)", "self.to_k(y.detach())"),
    Mistake("matches_the_reference", "cross", "Cross", CROSS, "** -0.5", "** -1"),
    Mistake("trains_as_it_evaluates", "cross", "Cross", DROPPING, "@ v", "@ v * (1 + self.training)"),
    Mistake("follows_query_order", _MHA, "Attention", PACKED, "weights @ v)", "weights.tril() @ v)"),
    Mistake("repeats_itself", _MHA, "Attention", PACKED, "weights @ v)", "weights @ v * torch.rand(()))"),
    Mistake("uses_its_parameters", "cross", "Cross", CROSS, "self.to_q(x)", _NO_QUERY),
    Mistake("matches_the_reference", _MHA, "Attention", PACKED, "(c // self.num_heads) ** -0.5", "c ** -0.5"),
)  # fmt: skip


def opened(path: Path, mistake: Mistake, right: str) -> Opened:
    """The wrong file, called as the right one is: what is tested is the script, not the search."""
    path.write_text(right)
    target = f"{path}:{mistake.name}"
    found = find_for(load(target), target, mistake.mechanism, {}, lambda _: None)
    assert found.certainty == "verified", "the right implementation agrees with the reference"
    path.write_text(mistake.wrong)
    adapter = FoundAdapter(found, load(target))
    return Opened(Subject(adapter.mechanism, adapter.interface), InProcess(adapter), found, isolated=False)


def script_for(path: Path, mistake: Mistake) -> str | None:
    """The script of the smallest case that breaks the check."""
    subject = opened(path, mistake, mistake.right)
    check = CHECKS[mistake.check]
    planned = cases(check, subject.subject, "quick", 1)
    verdict = judge(check, subject.subject, planned, subject.executor, Known())
    assert verdict.outcome == "failed", f"{mistake.check} sees the mistake"
    finding = smallest(check, subject.subject, verdict.findings[0], subject.executor, Known())
    return reproducer(check, subject, finding, f"{path}:{mistake.name}")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.name}-{m.check}")
def test_a_script_fails_on_the_mistake_and_passes_without_it(tmp_path: Path, mistake: Mistake) -> None:
    path = tmp_path / f"made_{mistake.name.lower()}_{MISTAKES.index(mistake)}.py"

    script = script_for(path, mistake)

    assert script is not None
    assert len(script.splitlines()) <= MOST_LINES
    assert "attncheck" not in script
    if CHECKS[mistake.check].family not in ("value", "gradient"):
        assert "attnref" not in script
    path.write_text(mistake.right)
    right = run(script, tmp_path)
    assert (right.returncode, right.stdout) == (0, "no defect\n"), right.stderr


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_script_that_only_raises_shows_nothing() -> None:
    assert not shows("raise ValueError('a mistake of the script itself')")


def test_a_script_that_finds_no_defect_shows_nothing() -> None:
    assert not shows("print('no defect')")


def test_objects_without_a_path_have_no_script(tmp_path: Path) -> None:
    mistake = MISTAKES[0]
    subject = opened(tmp_path / "made_pathless.py", mistake, mistake.right)
    check = CHECKS[mistake.check]
    verdict = judge(
        check, subject.subject, cases(check, subject.subject, "quick", 1), subject.executor, Known()
    )

    assert reproducer(check, subject, verdict.findings[0], object()) is None
