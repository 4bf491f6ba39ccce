"""Laws of masks: each is broken by a mask that is forgotten, or that does more than hide."""

import pytest

from attncheck.checks import masking

LAWS = [check.id for check in masking.CHECKS]


def forgets_the_mask(call, built, inputs, options):
    return call(built, {n: t for n, t in inputs.items() if n not in ("mask", "valid_lens")}, options)


def forgets_to_be_causal(call, built, inputs, options):
    return call(built, inputs, {**options, "causal": False})


def scales_if_masked(out, inputs, built):
    return out * 1.01 if {"mask", "valid_lens"} & inputs.keys() else out


@pytest.mark.parametrize(
    "mechanism", ["scaled_dot_product", "multi_head", "cross", "additive", "masked_softmax"]
)
@pytest.mark.parametrize("check", ["masked_equals_removed", "hidden_keys_have_no_influence"])
def test_a_forgotten_mask_shows(verdict, check, mechanism):
    assert verdict(check, mechanism, instead=forgets_the_mask).outcome == "failed"


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "dot_product"])
def test_a_mask_that_changes_more_than_it_hides_shows(verdict, mechanism):
    assert verdict("full_mask_changes_nothing", mechanism, scales_if_masked).outcome == "failed"


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head"])
def test_a_forgotten_causal_mode_shows(verdict, mechanism):
    assert verdict("causal_sees_no_future", mechanism, instead=forgets_to_be_causal).outcome == "failed"


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head"])
def test_self_attention_obeys_every_law_of_masks(verdict, mechanism, law):
    """A hidden token is a query too, and its own row may be anything."""
    assert verdict(law, mechanism, interface={"inputs": {"x": ("q", "k", "v")}}).outcome == "passed"


NO_SPARE = [
    ("masked_equals_removed", {"kv_len": 1}),
    ("masked_equals_removed", {"batch": 0}),
    ("hidden_keys_have_no_influence", {"kv_len": 1}),
    ("causal_sees_no_future", {"kv_len": 1}),
]


@pytest.mark.parametrize(("law", "sizes"), NO_SPARE)
def test_where_there_is_no_key_to_spare_nothing_is_judged(verdict, case_of, law, sizes):
    found = verdict(law, "multi_head", given=[case_of("multi_head", **sizes)])

    assert found.outcome == "skipped"
    assert "there is no" in found.reason


SINGLE = {"batch": 1, "q_len": 1}
FORGETFUL = [
    # A padding mask shows two keys at least, a length one.
    ("masked_equals_removed", "multi_head", forgets_the_mask, {"heads": 1, "kv_len": 3}),
    ("masked_equals_removed", "dot_product", forgets_the_mask, {"kv_len": 2}),
    ("hidden_keys_have_no_influence", "multi_head", forgets_the_mask, {"heads": 1, "kv_len": 2}),
    ("causal_sees_no_future", "multi_head", forgets_to_be_causal, {"heads": 1, "kv_len": 2}),
]


@pytest.mark.parametrize(("law", "mechanism", "instead", "sizes"), FORGETFUL)
def test_one_key_to_spare_is_enough(verdict, case_of, law, mechanism, instead, sizes):
    smallest = [case_of(mechanism, seed, **SINGLE, **sizes) for seed in range(4)]

    assert verdict(law, mechanism, given=smallest).outcome == "passed"
    assert verdict(law, mechanism, instead=instead, given=smallest).outcome == "failed"


def test_a_length_that_reaches_one_too_far_shows(verdict):
    def includes_the_length(call, built, inputs, options):
        given = inputs["valid_lens"]
        return call(built, {**inputs, "valid_lens": (given + 1).clamp(max=inputs["keys"].shape[1])}, options)

    found = verdict("hidden_keys_have_no_influence", "dot_product", instead=includes_the_length)

    assert found.outcome == "failed"


def test_a_mask_that_serves_all_samples_hides_the_same_keys_in_each(verdict, case_of):
    every = [case_of("multi_head", seed, batch=3) for seed in range(3)]
    shared = {"varies": {"mask": ("q_len", "kv_len")}}

    assert verdict("masked_equals_removed", "multi_head", interface=shared, given=every).cases == len(every)


def prefers_the_mask(call, built, inputs, options):
    return call(built, inputs, {**options, "causal": "mask" not in inputs})


def takes_one_of_both(call, built, inputs, options):
    if "mask" in inputs and options["causal"]:
        raise ValueError("a mask and causal together")
    return call(built, inputs, options)


def test_a_mask_that_takes_the_place_of_the_causal_one_shows(verdict):
    assert verdict("causal_sees_no_future", "multi_head", instead=prefers_the_mask).outcome == "failed"


@pytest.mark.parametrize("more", [(), ("bias",)])
def test_where_a_call_may_have_one_of_both_it_is_never_given_both(verdict, more):
    one = {"exclusive": ("mask", "causal", *more)}

    found = verdict("causal_sees_no_future", "multi_head", instead=takes_one_of_both, interface=one)

    assert found.outcome == "passed"


def test_a_target_without_a_mask_gets_none(subject_of, case_of):
    case = case_of("kernel_regression", seed=1)

    assert masking.masked(subject_of("kernel_regression"), case) == case


@pytest.mark.parametrize(
    ("mechanism", "interface", "kind"),
    [
        ("scaled_dot_product", {}, "random_mask"),
        ("scaled_dot_product", {"prefixes_only": True}, ""),
        ("dot_product", {}, ""),
        ("kernel_regression", {}, ""),
    ],
)
def test_only_a_mask_that_moves_with_its_keys_joins_cases_that_move_them(
    subject_of, case_of, mechanism, interface, kind
):
    assert masking.keyed(subject_of(mechanism, **interface), case_of(mechanism, seed=1)).masking == kind


@pytest.mark.parametrize(
    ("kinds", "wanted", "given"),
    [
        ((), "random_mask", "random_mask"),
        (("full_mask", "random_mask"), "random_mask", "random_mask"),
        (("full_mask", "padding_mask"), "random_mask", "padding_mask"),
        (("full_mask", "last_key_mask"), "random_mask", "full_mask"),
        (("full_mask",), "", ""),
    ],
)
def test_the_nearest_mask_that_can_be_handed_over_is(subject_of, kinds, wanted, given):
    assert masking.possible(subject_of("scaled_dot_product", maskings=kinds), wanted) == given


def test_every_law_of_masks_is_tested_here():
    assert {check.id for check in masking.CHECKS} == {
        "masked_equals_removed",
        "hidden_keys_have_no_influence",
        "full_mask_changes_nothing",
        "causal_sees_no_future",
    }
