"""Right values: a small error, a lower precision inside and wrong weights are each seen by one check."""

import pytest
import torch

from attncheck.checks import value


def is_off_by_a_thousandth(out, inputs, built):
    return out * 1.001


def rounds_to_float32(out, inputs, built):
    return out.float().to(out.dtype)


def rounds_float32_to_bfloat16(out, inputs, built):
    return out.bfloat16().float() if out.dtype == torch.float32 else out


def loses_a_tenth_in_half_precision(out, inputs, built):
    return out * 0.9 if out.dtype in (torch.bfloat16, torch.float16) else out


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "cbam_block", "non_local"])
def test_an_error_of_a_thousandth_is_no_reference(verdict, mechanism):
    finding = verdict("matches_the_reference", mechanism, is_off_by_a_thousandth).findings[0]

    assert finding.expected.startswith("the output")


def test_an_output_that_passed_through_float32_deviates(verdict):
    assert verdict("keeps_float64_precision", "cross", rounds_to_float32).outcome == "deviates"
    assert verdict("matches_the_reference", "cross", rounds_to_float32).outcome == "passed"


def test_float32_inside_is_no_convention_where_there_is_no_softmax(verdict):
    assert verdict("keeps_float64_precision", "cbam_spatial", rounds_to_float32).outcome == "failed"


def test_float32_that_is_only_as_good_as_bfloat16_fails(verdict):
    assert verdict("keeps_float32_precision", "multi_head", rounds_float32_to_bfloat16).outcome == "failed"


def test_half_precision_that_loses_a_tenth_fails(verdict):
    assert verdict("keeps_half_precision", "multi_head", loses_a_tenth_in_half_precision).outcome == "failed"


def test_weights_that_are_not_those_of_the_output_fail(verdict):
    def returns_flat_weights(call, built, inputs, options):
        results = call(built, inputs, options)
        return {n: t * 0 + 1 / t.shape[-1] if n == "weights" else t for n, t in results.items()}

    assert verdict("weights_match_the_reference", "cross", instead=returns_flat_weights).outcome == "failed"


def test_a_bias_that_is_forgotten_shows(verdict):
    def forgets_the_bias(call, built, inputs, options):
        return call(built, {n: t for n, t in inputs.items() if n != "bias"}, options)

    assert verdict("adds_its_bias", "scaled_dot_product", instead=forgets_the_bias).outcome == "failed"


def test_a_bias_that_is_read_the_other_way_round_shows_at_any_sizes(verdict, case_of):
    """Every third case has as many queries as keys."""

    def transposes_what_fits(call, built, inputs, options):
        bias = inputs["bias"]
        return call(built, {**inputs, "bias": bias.mT if bias.shape[-1] == bias.shape[-2] else bias}, options)

    given = [case_of("scaled_dot_product", seed) for seed in (3, 4, 5)]
    found = verdict("adds_its_bias", "scaled_dot_product", instead=transposes_what_fits, given=given)

    assert [finding.case.seed for finding in found.findings] == [3]
    rest = verdict("adds_its_bias", "scaled_dot_product", instead=transposes_what_fits, given=given[1:])
    assert rest.outcome == "passed"


@pytest.mark.parametrize("capped", [False, True])
def test_a_bias_that_is_wrong_with_or_without_a_soft_cap_shows(verdict, capped):
    def doubles_the_bias(call, built, inputs, options):
        factor = 2 if bool(options.get("soft_cap")) == capped else 1
        return call(built, {**inputs, "bias": inputs["bias"] * factor}, options)

    assert verdict("adds_its_bias", "scaled_dot_product", instead=doubles_the_bias).outcome == "failed"


def test_a_target_without_a_soft_cap_is_never_given_one(verdict):
    def knows_no_soft_cap(call, built, inputs, options):
        assert not options.get("soft_cap")
        return call(built, inputs, options)

    lacks = {"takes": ("mask", "bias", "causal")}

    found = verdict("adds_its_bias", "scaled_dot_product", instead=knows_no_soft_cap, interface=lacks)

    assert found.outcome == "passed"


@pytest.mark.parametrize("causal", [False, True])
def test_weights_that_are_wrong_in_one_mode_show(verdict, causal):
    def errs(call, built, inputs, options):
        results = call(built, inputs, options)
        factor = 1.01 if bool(options.get("causal")) == causal else 1
        return {n: t * factor if n == "weights" else t for n, t in results.items()}

    assert verdict("weights_match_the_reference", "scaled_dot_product", instead=errs).outcome == "failed"


def test_weights_that_do_not_come_back_fail(verdict):
    def keeps_them(call, built, inputs, options):
        return {"out": call(built, inputs, options)["out"]}

    found = verdict("weights_match_the_reference", "multi_head", instead=keeps_them)

    assert found.findings[0].actual == "none came back"


def test_weights_that_are_averages_are_held_against_averages(verdict):
    def averages(call, built, inputs, options):
        results = call(built, inputs, options)
        return {n: t.mean(1) if n == "weights" else t for n, t in results.items()}

    said = {"conventions": {"weights_returned": "averaged"}}

    assert verdict("weights_match_the_reference", "multi_head", instead=averages).outcome == "failed"
    found = verdict("weights_match_the_reference", "multi_head", instead=averages, interface=said)
    assert found.outcome == "passed"


def test_wrong_values_say_nothing_about_precision(verdict):
    found = verdict("keeps_float64_precision", "cross", is_off_by_a_thousandth)

    assert found.outcome == "skipped"
    assert "the values are wrong" in found.reason


def in_low_precision(**does):
    """What happens in each dtype: a loss of a tenth, an error, or a result in another dtype."""

    def call(inner, built, inputs, options):
        results = inner(built, inputs, options)
        match does.get(str(results["out"].dtype).removeprefix("torch.")):
            case "loses":
                return {**results, "out": results["out"] * 0.9}
            case "raises":
                raise RuntimeError("not implemented for this dtype")
            case "widens":
                return {**results, "out": results["out"].float()}
        return results

    return call


@pytest.mark.parametrize(
    ("does", "outcome"),
    [
        ({"bfloat16": "loses"}, "failed"),
        ({"float16": "loses"}, "failed"),
        ({"float16": "raises"}, "passed"),
        ({"bfloat16": "widens"}, "passed"),
        ({"bfloat16": "raises", "float16": "loses"}, "failed"),
        ({"bfloat16": "raises", "float16": "widens"}, "skipped"),
    ],
)
def test_each_half_precision_is_judged_where_there_is_a_result_in_it(verdict, does, outcome):
    assert verdict("keeps_half_precision", "multi_head", instead=in_low_precision(**does)).outcome == outcome


def test_where_there_is_no_result_in_float32_nothing_is_judged(verdict):
    found = verdict("keeps_float32_precision", "multi_head", instead=in_low_precision(float32="raises"))

    assert found.outcome == "skipped"
    assert "no result in float32" in found.reason


DEAD = {"causal": True, "alignment": "lower_right"}


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ({**DEAD, "q_len": 5, "kv_len": 3}, 2),
        ({**DEAD, "q_len": 3, "kv_len": 5}, 0),
        ({**DEAD, "q_len": 3, "kv_len": 2}, 1),
        ({**DEAD, "q_len": 2, "kv_len": 0}, 2),
        ({**DEAD, "q_len": 0, "kv_len": 0}, 0),
        ({**DEAD, "q_len": 5, "kv_len": 3, "alignment": "upper_left"}, 0),
        ({**DEAD, "q_len": 5, "kv_len": 3, "causal": False}, 0),
    ],
)
def test_aligned_at_the_last_key_queries_beyond_the_keys_are_dead(names, rows):
    assert value.dead_rows(names) == rows


def spoils_rows(first, last):
    """Adds one to some rows where a causal alignment leaves some without a key, said by how many these are."""

    def call(inner, built, inputs, options):
        out = inner(built, inputs, options)["out"]
        dead = value.dead_rows({**options, "q_len": inputs["q"].shape[2], "kv_len": inputs["k"].shape[2]})
        rows = torch.zeros_like(out)
        if dead:
            rows[:, :, first(dead) : last(dead)] = 1
        return {"out": out + rows}

    return call


def test_what_dead_rows_give_is_free_and_what_living_rows_give_is_not(verdict, case_of):
    dead, one = spoils_rows(lambda n: 0, lambda n: n), spoils_rows(lambda n: n, lambda n: n + 1)
    single = [case_of("scaled_dot_product", q_len=3, kv_len=2).with_options(**DEAD)]

    assert verdict("matches_the_reference", "scaled_dot_product", instead=dead).outcome == "passed"
    found = verdict("matches_the_reference", "scaled_dot_product", instead=dead, given=single)
    assert found.outcome == "passed"
    finding = verdict("matches_the_reference", "scaled_dot_product", instead=one).findings[0]
    assert finding.expected.startswith("the rows that see a key")


def test_a_wrong_shape_shows_where_some_rows_are_dead(verdict):
    def drops_dead_rows(call, built, inputs, options):
        out = call(built, inputs, options)["out"]
        names = {**options, "q_len": inputs["q"].shape[2], "kv_len": inputs["k"].shape[2]}
        return {"out": out[:, :, value.dead_rows(names) :]}

    finding = verdict("matches_the_reference", "scaled_dot_product", instead=drops_dead_rows).findings[0]

    assert finding.kind == "wrong shape"


@pytest.mark.parametrize(
    ("interface", "causal", "kinds"),
    [
        ({}, False, ["", "random_mask", "padding_mask", ""]),
        ({}, True, ["", "padding_mask", "", "padding_mask"]),
        ({"fixed": {"causal": True}}, False, ["", "padding_mask", "", "padding_mask"]),
        ({"exclusive": ("mask", "causal")}, True, ["", "", "", ""]),
    ],
)
def test_beside_the_causal_mask_no_other_hides_a_first_key(subject_of, case_of, interface, causal, kinds):
    """Or a row might see none; by turns, as seeds go."""
    subject = subject_of("multi_head", **interface)
    cases = [case_of("multi_head", seed).with_options(causal=causal) for seed in range(4)]

    assert [value.with_masks(subject, case).masking for case in cases] == kinds


@pytest.mark.parametrize(
    ("mechanism", "interface", "squares"),
    [
        ("multi_head", {}, True),
        ("multi_head", {"refuses": ("q_len < kv_len",)}, False),
        ("multi_head", {"fixed": {"q_len": 3}}, False),
        ("squeeze_excitation", {}, False),
    ],
)
def test_as_many_queries_as_keys_where_both_can_be_chosen(subject_of, case_of, mechanism, interface, squares):
    case = case_of(mechanism)

    squared = value.squared(subject_of(mechanism, **interface), case)

    assert squared == (case.with_sizes(q_len=case.sizes["kv_len"]) if squares else case)


def takes_zeros_for_padding(call, built, inputs, options):
    """Keys that are zero throughout are hidden, as if they were there to fill up."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    logits = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill((k == 0).all(-1)[..., None, :], -torch.inf)
    if "mask" in inputs:
        logits = logits.masked_fill(~inputs["mask"], -torch.inf)
    return {"out": torch.softmax(logits, dim=-1) @ v}


def hides_scores_of_zero(call, built, inputs, options):
    """A score that a mask has set to zero is told by its value, as others may have it too."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    logits = q @ k.mT * q.shape[-1] ** -0.5 * inputs.get("mask", torch.ones(()))
    return {"out": torch.softmax(logits.masked_fill(logits == 0, -torch.inf), dim=-1) @ v}


def averages_what_is_not_zero(call, built, inputs, options):
    x = inputs["x"]
    mean = x.sum(1, keepdim=True) / (x != 0).sum(1, keepdim=True).clamp(min=1)
    maps = torch.cat(
        (x.amax(1, keepdim=True), mean) if built.maximum_first else (mean, x.amax(1, keepdim=True)), 1
    )
    logits = built.conv(maps)
    return {"out": x * (logits if built.norm is None else built.norm(logits)).sigmoid()}


@pytest.mark.parametrize(
    ("mechanism", "wrong"),
    [
        ("scaled_dot_product", takes_zeros_for_padding),
        ("scaled_dot_product", hides_scores_of_zero),
        ("cbam_spatial", averages_what_is_not_zero),
    ],
)
def test_zeros_that_count_for_nothing_are_caught_where_there_are_some(verdict, mechanism, wrong):
    assert verdict("zeros_match_the_reference", mechanism, instead=wrong).outcome == "failed"
    assert verdict("keeps_float64_precision", mechanism, instead=wrong).outcome == "passed"


def errs_where_nothing_is_positive(out, inputs, built):
    return out * (2 if bool((inputs["x"] < 0).all()) else 1)


@pytest.mark.parametrize("mechanism", ["cbam_channel", "spatial_self", "cross"])
def test_what_is_wrong_below_zero_alone_is_caught_there(verdict, mechanism):
    assert (
        verdict("negatives_match_the_reference", mechanism, errs_where_nothing_is_positive).outcome
        == "failed"
    )
    assert verdict("zeros_match_the_reference", mechanism, errs_where_nothing_is_positive).outcome == "passed"


def test_every_check_of_values_is_tested_here():
    assert {check.id for check in value.CHECKS} == {
        "matches_the_reference",
        "negatives_match_the_reference",
        "zeros_match_the_reference",
        "weights_match_the_reference",
        "keeps_float64_precision",
        "keeps_float32_precision",
        "keeps_half_precision",
        "adds_its_bias",
    }
