"""What is the adapter's fault is told apart from what is the target's."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attncheck import run
from attncheck.model.case import Case, Scalar
from attncheck.targets import bench as bench_module
from attncheck.targets import search
from attncheck.targets.adapter import Reference
from attncheck.targets.bench import Bench
from attncheck.targets.found import Argument, Configuration, Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.subject import Subject
from attncheck.targets.trying import case_for
from attnref.catalogue import BY_ID


class ReadsInTheCall(nn.Module):
    """Reads a field in its call that no name of a size could tell."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x) * self.config.flavour_of_the_day


class LacksAFieldOfItsOwn(nn.Module):
    """Nobody hands it a configuration; what it lacks is its own mistake."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return SimpleNamespace(gain=1).gian * torch.nn.functional.scaled_dot_product_attention(q, k, v)


class LacksAnAttribute(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.gain * torch.nn.functional.scaled_dot_product_attention(q, k, v)


def test_a_field_that_the_adapter_did_not_give_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 2.0)

    report = run(ReadsInTheCall, mechanism="multi_head", isolate=False, seed=1, budget="quick")

    assert report.exit_code == 3
    assert not report.failed
    assert "reads 'flavour_of_the_day', which the configuration it was given has not" in " ".join(
        verdict.reason for verdict in report.verdicts
    )


@pytest.mark.parametrize("target", [LacksAnAttribute, LacksAFieldOfItsOwn])
def test_an_attribute_that_the_target_itself_lacks_is_a_finding(target: type[nn.Module]) -> None:
    report = run(target, mechanism="scaled_dot_product", isolate=False, seed=1, budget="quick")

    assert report.exit_code == 1


class NormedByHand(nn.Module):
    """A norm of the batch whose statistics go by a name of their own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.lerp_(x.mean((0, 2, 3)), 0.5)
        return x - self.seen[:, None, None]


class WithAnExpandedBuffer(nn.Module):
    """One number, seen as many: it cannot be written to."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.zeros(1).expand(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.index[:, None, None]


def test_a_buffer_that_training_leaves_alone_is_not_written_to() -> None:
    found = Found(
        "channel_self",
        "",
        {"x": ("x",)},
        (Argument("x", "x"),),
        arguments={"channels": "channels"},
        loads=False,
    )
    bench = Bench(FoundAdapter(found, WithAnExpandedBuffer))
    subject = Subject(bench.adapter.mechanism, bench.adapter.interface)
    case = case_for(found, bench.adapter.mechanism, {})
    assert case is not None

    assert bench.perform(replace(subject.ask(case), train=True)).trouble is None


def test_what_training_moves_is_not_handed_on_to_the_next_question() -> None:
    """Weights that cannot be matched are not loaded anew, and statistics would be what earlier questions left."""
    found = Found(
        "channel_self",
        "NormedByHand",
        {"x": ("x",)},
        (Argument("x", "x"),),
        arguments={"channels": "channels"},
    )
    bench = Bench(FoundAdapter(replace(found, loads=False), NormedByHand))
    subject = Subject(bench.adapter.mechanism, bench.adapter.interface)
    case = case_for(found, bench.adapter.mechanism, {})
    assert case is not None
    ask = subject.ask(case)

    before = bench.perform(ask)
    trained = bench.perform(replace(ask, train=True))
    after = bench.perform(ask)

    assert not torch.equal(trained.out, before.out)
    assert torch.equal(after.out, before.out)


class GivesTooLittle(Reference):
    def call(
        self, built: Any, inputs: Mapping[str, Tensor], options: Mapping[str, Scalar]
    ) -> Mapping[str, Tensor]:
        return Configuration().missing  # type: ignore[no-any-return]  # never there


def test_the_stage_says_whose_fault_it_is() -> None:
    cross = BY_ID["cross"]
    sizes = {"batch": 1, "q_len": 2, "kv_len": 3, "query_size": 2, "key_size": 2, "head_dim": 2, "v_dim": 2}
    ask = Subject(cross, Reference(cross).interface).ask(Case(sizes))

    trouble = Bench(GivesTooLittle(cross)).perform(ask).trouble

    assert trouble is not None
    assert (trouble.stage, trouble.kind) == ("adapter", "AttributeError")


class WithASwitch:
    """What is no module may have a mode all the same."""

    def __init__(self, frozen: bool) -> None:
        self.training = False
        self.frozen = frozen

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "frozen", False):
            raise AttributeError("it is frozen")
        super().__setattr__(name, value)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q[..., :1] * 0 + float(self.training)


@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_no_module_is_put_into_training_mode_where_it_can_be(frozen: bool) -> None:
    inputs = {name: (name,) for name in "qkv"}
    found = Found(
        "scaled_dot_product",
        "",
        inputs,
        tuple(Argument(n, n) for n in inputs),
        arguments={"frozen": str(frozen)},
    )
    bench = Bench(FoundAdapter(found, WithASwitch))
    case = case_for(found, bench.adapter.mechanism, {"v_dim": 1})
    assert case is not None
    ask = replace(Subject(bench.adapter.mechanism, bench.adapter.interface).ask(case), train=True)

    assert bool(bench.perform(ask).out.all()) is not frozen


def test_instances_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cross = BY_ID["cross"]
    sizes = {"batch": 1, "q_len": 2, "kv_len": 3, "query_size": 2, "key_size": 2, "head_dim": 2, "v_dim": 2}
    subject = Subject(cross, Reference(cross).interface)
    asks = [subject.ask(Case({**sizes, "head_dim": width})) for width in (2, 3, 4)]
    roomy, narrow = Bench(Reference(cross)), Bench(Reference(cross))

    for ask in asks:
        roomy.perform(ask)
    monkeypatch.setattr(bench_module, "_ROOM", 10)
    for ask in asks:
        assert narrow.perform(ask).trouble is None

    assert len(roomy.built) == 3
    # The newest stays, however large it is.
    assert len(narrow.built) == 1
