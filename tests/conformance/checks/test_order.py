"""Laws of order: each is broken by an implementation that counts, or that mixes what stands apart."""

from dataclasses import replace

import pytest
import torch

from attncheck.checks import order
from attncheck.engine.plan import cases
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS


def counts_along(axis):
    def change(out, inputs, built):
        steps = torch.arange(out.shape[axis], dtype=out.dtype)
        return out + 0.1 * steps.reshape(-1, *[1] * (-1 - axis if axis < 0 else out.dim() - 1 - axis))

    return change


def mixes_along(axis):
    def change(out, inputs, built):
        return out + 0.1 * out.mean(axis, keepdim=True)

    return change


def numbers_the_keys(call, built, inputs, options):
    v = inputs["v"]
    return call(built, {**inputs, "v": v + 0.1 * torch.arange(v.shape[-2], dtype=v.dtype)[:, None]}, options)


def scales_by_the_number_of_keys(out, inputs, built):
    return out * inputs["k"].shape[-2]


def reads_the_batch_size(out, inputs, built):
    return out * (1 + len(inputs["x"]))


CHANGES = [
    ("samples_do_not_mix", "cross", mixes_along(0)),
    ("samples_do_not_mix", "modified_resnet", mixes_along(0)),
    ("heads_do_not_mix", "scaled_dot_product", mixes_along(1)),
    ("queries_do_not_mix", "dot_product", mixes_along(1)),
    ("follows_query_order", "multi_head", counts_along(1)),
    ("follows_head_order", "scaled_dot_product", counts_along(1)),
    ("follows_key_order", "masked_softmax", counts_along(2)),
    ("follows_sample_order", "cbam_block", counts_along(0)),
    ("follows_channel_order", "channel_self", counts_along(1)),
    ("follows_row_order", "criss_cross", counts_along(2)),
    ("follows_column_order", "criss_cross", counts_along(3)),
    ("ignores_repeated_batch", "selective_kernel", reads_the_batch_size),
    ("ignores_duplicated_keys", "scaled_dot_product", scales_by_the_number_of_keys),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_counting_or_mixing_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_values_that_are_numbered_know_the_order_of_the_keys(verdict):
    assert verdict("ignores_key_order", "scaled_dot_product", instead=numbers_the_keys).outcome == "failed"


@pytest.mark.parametrize(
    ("mechanism", "seed", "batch", "trains"),
    [
        ("cbam_block", 1, 2, True),
        ("cbam_block", 2, 2, False),
        ("cbam_block", 1, 1, False),
        ("cross", 1, 2, False),
    ],
)
def test_every_other_case_trains_where_batch_norm_has_two_samples(
    subject_of, case_of, mechanism, seed, batch, trains
):
    case = case_of(mechanism, seed, batch=batch)

    assert order.in_training(subject_of(mechanism), case) == trains


FEW = [
    ("follows_query_order", "multi_head", "q_len", counts_along(1)),
    ("queries_do_not_mix", "dot_product", "q_len", mixes_along(1)),
    ("samples_do_not_mix", "cross", "batch", mixes_along(0)),
]


@pytest.mark.parametrize(("check", "mechanism", "axis", "change"), FEW)
def test_two_are_enough_and_one_says_nothing(verdict, case_of, check, mechanism, axis, change):
    one, two = ([case_of(mechanism, seed, **{axis: size}) for seed in range(2)] for size in (1, 2))

    assert verdict(check, mechanism, change, given=one).outcome == "skipped"
    assert verdict(check, mechanism, change, given=two).outcome == "failed"


SHAPES = [
    lambda out, inputs, built: out.sum(),
    lambda out, inputs, built: out.flatten(),
    lambda out, inputs, built: out.repeat(2, 2, 1),
]


@pytest.mark.parametrize("change", SHAPES)
@pytest.mark.parametrize("check", ["follows_query_order", "queries_do_not_mix", "samples_do_not_mix"])
def test_an_output_of_another_shape_is_no_matter_of_order(verdict, case_of, check, change):
    found = verdict(check, "cross", change, given=[case_of("cross")])

    assert found.outcome == "skipped"
    assert "the output has another shape" in found.reason


def test_every_law_of_order_has_an_implementation_that_breaks_it():
    assert {check.id for check in order.CHECKS} == {check for check, _, _ in CHANGES} | {"ignores_key_order"}


@pytest.mark.parametrize("mechanism", ["cbam_block", "selective_kernel", "modified_resnet"])
def test_batch_norm_in_training_would_break_the_separation_of_samples(verdict, mechanism):
    """That the law is stated for evaluation alone is what keeps the check from crying wolf."""
    reference = MECHANISMS[mechanism]
    broken = next(b.law for b in reference.contract.broken_laws if b.law.id == "samples_do_not_mix")
    stated = replace(reference, contract=replace(reference.contract, laws=(broken,)))

    assert not broken.only_eval
    assert verdict("samples_do_not_mix", reference).outcome == "passed"
    assert verdict("samples_do_not_mix", stated).outcome == "failed"


def test_lengths_that_stand_for_a_mask_stay_where_they_are_when_keys_move():
    # A row of lengths cannot follow a shuffled key: the claim is judged without them.
    subject = Subject(
        MECHANISMS["cross"], replace(Reference(MECHANISMS["cross"]).interface, prefixes_only=True)
    )
    (case, *_) = cases(order.ignores_key_order, subject, "quick", 1)

    asks = next(order.ignores_key_order.judge(subject, case))

    assert [set(ask.inputs) for ask in asks] == [{"x", "y"}, {"x", "y"}]
