"""Forms of inputs: each is broken by an implementation that reads another form the same way."""

from dataclasses import replace

import pytest
import torch

from attncheck.checks import forms
from attncheck.engine.plan import cases
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID


def includes_the_length(call, built, inputs, options):
    """Key j is visible if j ≤ length."""
    if "valid_lens" in inputs:
        inputs = {**inputs, "valid_lens": inputs["valid_lens"] + 1}
    return call(built, inputs, options)


def merges_the_queries(call, built, inputs, options):
    """The longest of a sample serves all of its queries."""
    lengths = inputs.get("valid_lens", torch.ones(1))
    if lengths.dim() == 2:
        inputs = {**inputs, "valid_lens": lengths.amax(1)}
    return call(built, inputs, options)


def reads_samples_as_heads(call, built, inputs, options):
    mask = inputs.get("mask", torch.ones(1))
    if mask.dim() == 3 and mask.shape[0] == built.heads:
        inputs = {**inputs, "mask": mask[None]}
    return call(built, inputs, options)


def lets_the_mask_replace_the_lengths(call, built, inputs, options):
    if "mask" in inputs:
        inputs = {name: tensor for name, tensor in inputs.items() if name != "valid_lens"}
    return call(built, inputs, options)


def test_lengths_that_give_way_to_a_mask_are_caught(verdict):
    found = verdict("masks_hold_together", "multi_head", instead=lets_the_mask_replace_the_lengths)

    assert found.outcome == "failed"
    assert verdict("masks_hold_together", "multi_head").outcome == "passed"
    assert verdict("masks_hold_together", "cross").reason == "the target takes one mask"


def test_lengths_that_reach_one_too_far_are_caught(verdict):
    found = verdict("lengths_match_the_reference", "multi_head", instead=includes_the_length)

    assert found.outcome == "failed"


def test_lengths_of_single_queries_are_caught_when_merged(verdict):
    found = verdict("lengths_match_the_reference", "multi_head", instead=merges_the_queries)

    assert found.outcome == "failed"
    assert len(found.findings) == 1


def test_a_mask_of_rank_three_read_as_heads_is_caught(verdict):
    found = verdict("masks_of_lower_rank_match", "multi_head", instead=reads_samples_as_heads)

    assert found.outcome == "failed"


def gives_every_query_the_values_of_the_first(call, built, inputs, options):
    values = inputs["values"]
    return call(built, {**inputs, "values": values[0] if values.dim() == 2 else values}, options)


def turns_shared_keys(call, built, inputs, options):
    keys = inputs["keys"]
    return call(built, {**inputs, "keys": keys.flip(0) if keys.dim() == 1 else keys}, options)


@pytest.mark.parametrize("mistake", [gives_every_query_the_values_of_the_first, turns_shared_keys])
def test_inputs_of_another_rank_read_the_wrong_way_are_caught(verdict, mistake):
    found = verdict("inputs_of_other_ranks_match", "kernel_regression", instead=mistake)

    assert found.outcome == "failed"
    assert verdict("inputs_of_other_ranks_match", "kernel_regression").outcome == "passed"
    assert verdict("inputs_of_other_ranks_match", "cross").reason == "the target takes its inputs in one form"


def doubles_keys_that_are_the_queries(call, built, inputs, options):
    names = ("queries", "keys") if "queries" in inputs else ("q", "k")
    if inputs[names[0]] is inputs[names[1]]:
        inputs = {**inputs, names[1]: inputs[names[1]] * 2}
    return call(built, inputs, options)


@pytest.mark.parametrize("mechanism", ["multi_head", "dot_product", "additive"])
def test_a_path_of_its_own_for_one_tensor_is_caught(verdict, mechanism):
    found = verdict("one_tensor_for_several_matches", mechanism, instead=doubles_keys_that_are_the_queries)

    assert found.outcome == "failed"
    assert found.findings[0].kind == "wrong values"


def doubles_values_that_are_the_keys(call, built, inputs, options):
    if inputs["v"] is inputs["k"] and inputs["k"] is not inputs["q"]:
        inputs = {**inputs, "v": inputs["v"] * 2}
    return call(built, inputs, options)


def test_a_path_of_its_own_for_keys_that_are_values_is_caught(verdict):
    found = verdict("one_tensor_for_several_matches", "multi_head", instead=doubles_values_that_are_the_keys)

    assert found.outcome == "failed"
    assert "one tensor as k and v" in found.findings[0].expected


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "cross", "dot_product"])
def test_the_reference_takes_one_tensor_for_several(verdict, mechanism):
    assert verdict("one_tensor_for_several_matches", mechanism).outcome == "passed"


def test_inputs_of_different_ranks_are_never_one(verdict):
    found = verdict("one_tensor_for_several_matches", "kernel_regression")

    assert (found.outcome, found.reason) == (
        "skipped",
        "no case could be judged: no two inputs can have one shape",
    )


def test_what_follows_from_a_size_that_is_changed_is_changed_with_it():
    """A head as wide as the keys: where queries are the keys, it is as wide as the queries."""
    mechanism = BY_ID["cross"]
    interface = replace(Reference(mechanism).interface, derived={"head_dim": "key_size"})
    subject = Subject(mechanism, interface)
    (case,) = cases(forms.one_tensor_for_several_matches, subject, "quick", 0)[:1]

    (ask,) = next(forms.one_tensor_for_several_matches.judge(subject, case))

    assert ask.names["head_dim"] == ask.names["key_size"] == ask.names["query_size"]


def test_a_target_of_one_tensor_is_not_asked_for_several(verdict):
    found = verdict("one_tensor_for_several_matches", "squeeze_excitation")

    assert (found.outcome, found.reason) == ("skipped", "the target takes one tensor")


def test_the_reference_reads_every_form(verdict):
    for check in forms.CHECKS:
        mechanism = "kernel_regression" if check is forms.inputs_of_other_ranks_match else "multi_head"
        assert verdict(check.id, mechanism).outcome == "passed", check.id


def test_a_target_with_one_form_is_not_asked_for_another(verdict):
    assert verdict("lengths_match_the_reference", "dot_product").outcome == "skipped"
    assert verdict("masks_of_lower_rank_match", "scaled_dot_product").outcome == "skipped"


def refuses_other_ranks(call, built, inputs, options):
    if inputs.get("mask", torch.ones(1, 1, 1, 1)).dim() != 4:
        raise ValueError("the mask must have four axes")
    return call(built, inputs, options)


def test_a_target_that_refuses_a_mask_of_rank_three_is_not_accused(verdict):
    found = verdict("masks_of_lower_rank_match", "multi_head", instead=refuses_other_ranks)

    assert found.outcome == "skipped"
    assert "the mask must have four axes" in found.reason


@pytest.mark.parametrize(
    ("mechanism", "varies"), [("multi_head", {"mask": ("q_len", "kv_len")}), ("dot_product", {})]
)
def test_masks_that_an_adapter_lays_out_have_one_rank(mechanism, varies):
    interface = replace(Reference(BY_ID[mechanism]).interface, varies=varies)

    reason = forms.masks_of_lower_rank_match.applies(Subject(BY_ID[mechanism], interface))

    assert reason == "the target takes masks of one rank"
