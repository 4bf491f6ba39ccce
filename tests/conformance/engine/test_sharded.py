"""Targets in several processes: right ones conform, wrong ones are named with the rank, lost ones too."""

from pathlib import Path

import pytest

from attncheck.engine.opening import open_target
from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.errors import UsageError

TARGETS = Path(__file__).with_name("sharded_targets.py")
VALUES = ("matches_the_reference", "input_gradients_match", "causal_sees_no_future")


def request(name, mechanism="scaled_dot_product", world=2, **fields):
    fields = {"checks": VALUES, "budget": "quick", "seed": 1, "explain": False, **fields}
    return Request(f"{TARGETS}:{name}", mechanism, world=world, **fields)


def outcomes(report):
    return {verdict.check: verdict.outcome for verdict in report.verdicts}


@pytest.mark.parametrize("world", [2, 4])
def test_a_right_ring_conforms(world):
    report = run(request("ring_attention", world=world))

    assert set(outcomes(report).values()) == {"passed"}, report.verdicts


def test_shards_of_uneven_lengths_are_among_the_cases():
    report = run(request("ring_attention", checks=("runs_at_every_legal_size",)))
    opened = open_target(request("ring_attention"))
    opened.executor.close()

    assert not any("%" in rule for rule in opened.subject.interface.refuses)
    assert report.conforms


def test_right_heads_for_lengths_conform_at_the_sizes_that_they_take():
    report = run(request("heads_for_lengths"))

    assert "passed" in outcomes(report).values()
    assert set(outcomes(report).values()) <= {"passed", "skipped"}, report.verdicts
    assert any("heads % 2 == 0" in note for note in report.header.adapter)


def test_what_takes_even_shards_only_is_judged_only_there():
    report = run(request("takes_even_shards_only", checks=("matches_the_reference",)))

    assert set(outcomes(report).values()) == {"passed"}, report.verdicts
    assert any("q_len % 2 == 0" in note for note in report.header.adapter)


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("forgets_to_rescale", "matches_the_reference", "wrong on rank"),
        # At the smallest sizes rank 0 sees what is to come, and rank 1 is right by luck.
        ("ignores_its_offset", "causal_sees_no_future", "wrong on rank 0 (out"),
        ("keeps_its_gradient", "input_gradients_match", "grad.k"),
        ("is_wrong_on_rank_1", "matches_the_reference", "wrong on rank 1 (out"),
    ],
)
def test_a_mistake_is_caught_and_the_rank_is_named(name, check, words):
    report = run(request(name, checks=(check,), explain=True))

    (verdict,) = [v for v in report.verdicts if v.check == check]
    assert verdict.outcome == "failed"
    assert words in verdict.findings[0].actual
    if name == "is_wrong_on_rank_1":
        assert "rank 0" not in verdict.findings[0].actual


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dies_on_rank_1", "exit code 7: rank 1 of 2: "),
        ("raises_on_rank_1", "KeyError: rank 1 of 2: 'layer 3'"),
        ("hangs_on_rank_1", "time limit: rank 1 of 2: "),
    ],
)
def test_a_rank_that_is_lost_is_named(name, words):
    opened = open_target(request(name, seconds_per_call=3.0))
    subject, executor = opened.subject, opened.executor
    try:
        sizes = {"batch": 2, "heads": 3, "q_len": 5, "kv_len": 5, "head_dim": 7, "v_dim": 11}
        from attncheck.model.case import Case

        (answer,) = executor.put([subject.ask(Case(sizes))])
    finally:
        executor.close()

    assert answer.trouble is not None
    assert words in str(answer.trouble)


@pytest.mark.parametrize("world", [2, 4])
def test_a_right_tensor_parallel_module_conforms(world):
    checks = ("matches_the_reference", "input_gradients_match", "parameter_gradients_match")
    report = run(request("TensorParallel", "multi_head", world=world, checks=checks))

    assert set(outcomes(report).values()) == {"passed"}, report.verdicts


@pytest.mark.parametrize(
    ("name", "check", "ranks", "what"),
    [
        # The parts of all heads are on no rank.
        ("ForgetsToAdd", "matches_the_reference", (0, 1, 2, 3), "out"),
        # All ranks have the same sum, with four biases in it.
        ("AddsItsBiasOnEveryRank", "matches_the_reference", (0, 1, 2, 3), "out"),
        ("AddsItsBiasOnRank1Twice", "matches_the_reference", (1,), "out"),
        # With one key, as in the smallest case, only the values have a gradient.
        ("KeepsItsGradient", "input_gradients_match", (0, 1, 2, 3), "grad.v"),
    ],
)
def test_a_mistake_between_four_ranks_is_caught_and_the_ranks_are_named(name, check, ranks, what):
    report = run(request(name, "multi_head", world=4, checks=(check,), explain=True))

    (verdict,) = [v for v in report.verdicts if v.check == check]
    assert verdict.outcome == "failed"
    listed = "; ".join(f"rank {rank} ({what})" for rank in ranks)
    assert f"wrong on {listed} of 4" in verdict.findings[0].actual


def test_an_object_cannot_be_started_in_several_processes():
    with pytest.raises(UsageError, match="--world: expected a target by its path"):
        open_target(Request(lambda q, k, v: q, "scaled_dot_product", world=2))


def test_the_mechanism_has_to_be_named():
    with pytest.raises(UsageError, match="--world: say with --mechanism"):
        open_target(Request(f"{TARGETS}:ring_attention", world=2))
