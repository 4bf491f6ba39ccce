"""A shape contract is proved for all sizes, refuted with the exact condition, or left open with a reason."""

import random
import sys

import pytest
import torch
from torch import Tensor, nn

from attncheck.shapes.describe import describe
from attncheck.shapes.proof import Proof, answer, prove
from attncheck.shapes.question import Question
from attncheck.shapes.replay import replay
from attncheck.shapes.solver import MISSING

IMAGE = ("batch", "6", "height", "width")
TOKENS = ("batch", "tokens", "6")


class Gate(nn.Module):
    """Right for all sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layer(x.mean((2, 3))).sigmoid()[:, :, None, None]


class Swapped(nn.Module):
    """Adds a map with height and width exchanged; broadcasts where one of them is 1."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        return x + x.flatten(2).reshape(batch, channels, width, height)


class HardBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 6, -1).reshape(2, *x.shape[1:])


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.shape[3] > 32 else x


class LearnedPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(64, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


class CachedTable(nn.Module):
    """Keeps the table that its first call made."""

    table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.zeros(x.shape[1], 6)
        return x + self.table


class TellsIntegers(nn.Module):
    """Does with a plain integer what it does not with a symbol."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :-1] if type(x.shape[1]) is int else x


def test_a_right_module_is_proved_for_all_sizes():
    proof = prove(Gate, {"x": IMAGE}, IMAGE)

    assert (proof.status, proof.complete, proof.reason) == ("proved", True, "")
    assert {path.replayed for path in proof.paths} == {"confirmed"}


@pytest.mark.parametrize(
    ("module", "dims", "predicate", "witness"),
    [
        (Swapped, IMAGE, "height != width", {"batch": 1, "height": 2, "width": 1}),
        (HardBatch, IMAGE, "batch != 2", {"batch": 1, "height": 1, "width": 1}),
        (Branch, IMAGE, "width >= 33", {"batch": 1, "height": 1, "width": 33}),
        (LearnedPositions, TOKENS, "tokens >= 65", {"batch": 1, "tokens": 65}),
    ],
)
def test_a_mistake_is_refuted_with_its_condition_and_smallest_sizes(module, dims, predicate, witness):
    proof = prove(module, {"x": dims}, dims)

    assert (proof.status, proof.complete, proof.predicate) == ("refuted", True, predicate)
    # Several points may have the same sum of sizes; which of them comes first is z3's choice.
    assert sum(proof.witnesses[0].sizes.values()) == sum(witness.values())
    assert {path.replayed for path in proof.paths} == {"confirmed"}


@pytest.mark.parametrize("module", [Gate, Swapped, HardBatch, Branch])
def test_real_runs_do_what_the_proof_predicts(module):
    proof = prove(module, {"x": IMAGE}, IMAGE)
    question = Question(lambda _: module(), {"x": IMAGE}, IMAGE)
    draw = random.Random(0)

    for _ in range(60):
        sizes = {axis: draw.choice((1, 1, 2, 3, 5, 7, 16, 33, 40)) for axis in question.axes}
        # A symbolic crash can be a real broadcast: both break the contract.
        assert (proof.predict(sizes) == "ok") == (replay(question, sizes).outcome == "ok"), sizes


class TorchMultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(6, 3, batch_first=True)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        out: Tensor = self.layer(q, k, k, need_weights=False)[0]
        return out


def test_torchs_own_multi_head_attention_is_proved_and_200_real_runs_agree():
    inputs = {"q": ("batch", "q_len", "6"), "k": ("batch", "kv_len", "6")}
    question = Question(lambda _: TorchMultiHead(), inputs, inputs["q"])
    draw, call = random.Random(0), TorchMultiHead()

    proof = answer(question)

    assert proof.status == "proved"
    for _ in range(200):
        sizes = {axis: draw.randint(1, 40) for axis in question.axes}
        assert proof.predict(sizes) == replay(question, sizes, call).outcome == "ok"


def test_a_table_kept_from_the_first_call_is_refuted_by_one_instance_at_several_sizes():
    proof = prove(CachedTable, {"x": TOKENS}, TOKENS)

    assert {path.replayed for path in proof.paths} == {"confirmed"}
    assert proof.status == "refuted"
    assert "on an instance that had run at batch=5 tokens=7" in proof.witnesses[0].detail


def test_code_that_tells_symbols_from_integers_is_refuted_by_the_replay():
    proof = prove(TellsIntegers, {"x": TOKENS}, TOKENS)

    assert (proof.status, proof.complete) == ("refuted", False)
    assert proof.reason == "the code does with plain integers what it does not with symbols"


class ReadsValues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else x + 1


class KeepsSome(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, x[0, :, 0] > 0]


class Loops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, i] for i in range(x.shape[1])], 1)


class OnlyFake(nn.Module):
    """Crashes on symbols, but not on real tensors."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy()).clone()


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (ReadsValues, "the way it takes depends on values, not on sizes"),
        (KeepsSome, "the size of the output cannot be read"),
        (Loops, "explored 5 paths, and there are more"),
        (OnlyFake, "a real run is right there"),
    ],
)
def test_what_symbols_cannot_follow_is_open_with_the_reason(module, reason):
    proof = prove(module, {"x": TOKENS}, TOKENS, max_paths=5)

    assert proof.status == "open"
    assert reason in proof.reason


def test_without_z3_a_proof_is_open_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "z3", None)

    proof = prove(Gate, {"x": IMAGE}, IMAGE)

    assert (proof.status, proof.reason) == ("open", MISSING)


def test_an_axis_that_nobody_knows_leaves_the_proof_open():
    proof = prove(Gate, {"x": IMAGE}, ("batch", "6", "height", "depth"))

    assert proof.status == "open"
    assert "depth" in proof.reason


def test_fixed_axes_and_legal_sizes_narrow_the_claim():
    fixed = prove(HardBatch, {"x": IMAGE}, IMAGE, fixed={"batch": 2})
    legal = prove(Branch, {"x": IMAGE}, IMAGE, legal=("height >= 2", "width <= 32"))

    assert fixed.status == "proved"
    assert describe(legal).splitlines()[0] == "proved for all sizes >= 1 with height >= 2 and width <= 32"


def test_a_proof_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()

    prove(Gate, {"x": IMAGE}, IMAGE)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_refutation_is_told_with_its_witnesses_and_paths():
    text = describe(prove(LearnedPositions, {"x": TOKENS}, TOKENS, fixed={"batch": 2}))

    assert text.splitlines() == [
        "refuted: it breaks exactly where tokens >= 65",
        "  crash      tokens=65: RuntimeError: The size of tensor a (65) must match the size of tensor b (64)"
        " at non-singleton dimension 1",
        "  path       shape or error                            condition",
        "  ok         (2, tokens, 6)                            tokens <= 64 and tokens != 1",
        "  ok         (2, 1, 6)                                 tokens == 1",
        "  crash      RuntimeError: The size of tensor a (65)…  tokens > 64",
        "  real runs  7, each as predicted",
        "  trusted    torch's meta kernels are trusted to give the shapes that its real kernels give",
    ]


def test_an_open_proof_is_told_with_its_reason():
    assert (
        describe(Proof("open", reason=MISSING)) == f"open: neither proved nor refuted\n  because    {MISSING}"
    )
