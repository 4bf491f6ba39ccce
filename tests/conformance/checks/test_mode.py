"""Modes: an implementation that answers differently under one of them is caught."""

import pytest
import torch

from attncheck.checks import mode


def doubles_in_training(out, inputs, built):
    return out * 2 if built.training else out


def doubles_while_recording(out, inputs, built):
    return out * 2 if torch.is_grad_enabled() else out


def doubles_in_inference_mode(out, inputs, built):
    return out * 2 if torch.is_inference_mode_enabled() else out


def doubles_beside_weights(call, built, inputs, options):
    results = call(built, inputs, options)
    return {**results, "out": results["out"] * 2} if options.get("need_weights") else results


def remembers_training(out, inputs, built):
    built.__dict__["trained"] = built.training or built.__dict__.get("trained", False)
    return out * (1.5 if built.__dict__["trained"] and not built.training else 1.0)


CHANGES = [
    ("training_leaves_eval_alone", remembers_training),
    ("trains_as_it_evaluates", doubles_in_training),
    ("same_with_gradients", doubles_while_recording),
    ("same_in_inference_mode", doubles_in_inference_mode),
]


@pytest.mark.parametrize(("check", "change"), CHANGES)
def test_a_mode_that_changes_the_value_is_caught(verdict, check, change):
    assert verdict(check, "multi_head", change).outcome == "failed"


def test_an_output_that_is_another_beside_its_weights_is_caught(verdict):
    assert verdict("same_with_weights", "multi_head", instead=doubles_beside_weights).outcome == "failed"


@pytest.mark.parametrize("causal", [False, True])
def test_an_output_that_is_another_beside_its_weights_in_one_mode_is_caught(verdict, causal):
    def doubles_in_one_mode(call, built, inputs, options):
        wrong = options.get("need_weights") and bool(options.get("causal")) == causal
        results = call(built, inputs, options)
        return {**results, "out": results["out"] * 2} if wrong else results

    assert verdict("same_with_weights", "multi_head", instead=doubles_in_one_mode).outcome == "failed"


def test_a_target_without_a_causal_mode_is_never_asked_for_it(verdict):
    def has_no_causal_mode(call, built, inputs, options):
        assert not options.get("causal")
        return call(built, inputs, options)

    takes = {"takes": ("mask", "need_weights")}

    found = verdict("same_with_weights", "multi_head", instead=has_no_causal_mode, interface=takes)

    assert found.outcome == "passed"


def keeps_its_statistics(call, built, inputs, options):
    """Batch norm in training mode moves what it keeps, and gets it back."""
    before = {name: buffer.clone() for name, buffer in built.named_buffers()}
    results = call(built, inputs, options)
    for name, buffer in built.named_buffers():
        buffer.copy_(before[name])
    return results


def test_statistics_that_training_does_not_move_are_caught(verdict):
    found = verdict("training_moves_the_statistics", "cbam_block", instead=keeps_its_statistics)

    assert found.outcome == "failed"
    assert found.findings[0].kind == "keeps its statistics"


def moves_them_less(call, built, inputs, options):
    """Another momentum is no mistake."""
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.01
    return call(built, inputs, options)


def test_how_far_training_moves_them_is_left_open(verdict):
    assert verdict("training_moves_the_statistics", "cbam_block", instead=moves_them_less).outcome == "passed"


def test_every_check_of_modes_has_an_implementation_that_it_catches():
    apart = {"same_with_weights", "training_moves_the_statistics"}

    assert {check.id for check in mode.CHECKS} == {check for check, _ in CHANGES} | apart
