"""Extremes: softmaxes that overflow, fills that are too weak, products that pass what float16 holds."""

import pytest
import torch

from attncheck.checks import extremes


def exponentiates_as_it_is(call, built, inputs, options):
    """A softmax that does not subtract the largest logit first."""
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    raised = (q @ k.mT * q.shape[-1] ** -0.5).exp()
    if "mask" in inputs:
        raised = raised * inputs["mask"]
    return {"out": raised / raised.sum(-1, keepdim=True) @ v}


def filled_with(number):
    """Attention whose hidden logits become a number."""

    def attend(call, built, inputs, options):
        q, k, v = inputs["q"], inputs["k"], inputs["v"]
        logits = q @ k.mT * q.shape[-1] ** -0.5
        if "mask" in inputs:
            logits = logits.masked_fill(~inputs["mask"], number)
        return {"out": torch.softmax(logits, dim=-1) @ v}

    return attend


def filled_scores(number):
    """Softmax of scores whose padding becomes a number."""

    def softmax(call, built, inputs, options):
        scores = inputs["scores"]
        if "valid_lens" in inputs:
            lengths = inputs["valid_lens"].reshape(len(scores), -1, 1)
            scores = scores.masked_fill(torch.arange(scores.shape[-1]) >= lengths, number)
        return {"out": torch.softmax(scores, dim=-1)}

    return softmax


def filled_pairs(number):
    """Additive attention whose hidden scores become a number."""

    def attend(call, built, inputs, options):
        pairs = built.query(inputs["queries"])[:, :, None] + built.key(inputs["keys"])[:, None]
        scores = filled_scores(number)(
            call, built, {**inputs, "scores": built.score(pairs.tanh())[..., 0]}, {}
        )
        return {"out": scores["out"] @ inputs["values"]}

    return attend


def scaled_after_the_product(call, built, inputs, options):
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    return {"out": torch.softmax((q @ k.mT) * q.shape[-1] ** -0.5, dim=-1) @ v}


def squared_distances(call, built, inputs, options):
    distances = inputs["queries"][:, None] - inputs["keys"]
    weights = torch.softmax(-(distances**2) / 2, dim=-1)
    return {"out": (weights * inputs["values"]).sum(-1)}


def test_a_softmax_that_overflows_is_caught_at_large_logits(verdict):
    verdict = verdict("survives_large_logits", "scaled_dot_product", instead=exponentiates_as_it_is)

    assert verdict.outcome == "failed"
    assert "nan" in verdict.findings[0].actual.lower()


def counts_in_the_dtype_of_the_scores(call, built, inputs, options):
    scores, lengths = inputs["scores"], inputs["valid_lens"]
    rows = (lengths if lengths.dim() == 2 else lengths[:, None]).to(scores.dtype)
    hidden = torch.arange(scores.shape[-1]).to(scores.dtype) >= rows[..., None]
    return {"out": torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)}


def test_keys_that_half_precision_cannot_count_are_caught(verdict):
    found = verdict(
        "long_lengths_hold_in_half_precision", "masked_softmax", instead=counts_in_the_dtype_of_the_scores
    )

    assert found.outcome == "failed"


def test_lengths_that_are_whole_numbers_are_exact_in_half_precision(verdict):
    for mechanism in ("masked_softmax", "dot_product", "additive"):
        assert verdict("long_lengths_hold_in_half_precision", mechanism).outcome == "passed"


def bounded_units(call, built, inputs, options):
    x = inputs["x"]
    hidden = built.squeeze(x.mean((2, 3))).clamp(0, 6)
    return {"out": x * built.excite(hidden).sigmoid()[..., None, None]}


def test_units_with_a_bound_are_caught_at_large_inputs(verdict):
    assert verdict("survives_large_logits", "squeeze_excitation", instead=bounded_units).outcome == "failed"
    assert verdict("keeps_float64_precision", "squeeze_excitation", instead=bounded_units).outcome == "passed"


def overflowing_gate(call, built, inputs, options):
    """A sigmoid as a quotient of exponentials."""
    x = inputs["x"]
    logits = built.excite(built.squeeze(x.mean((2, 3))).relu())
    return {"out": x * (logits.exp() / (1 + logits.exp()))[..., None, None]}


def exponentiates_its_table(call, built, inputs, options):
    """Sums the table's exponentials by themselves, with no maximum to subtract; they cancel unless they overflow."""
    return {"out": call(built, inputs, options)["out"] * (built.table.exp().sum() / built.table.exp().sum())}


def test_a_table_that_is_exponentiated_alone_overflows_at_large_entries(verdict):
    assert verdict("survives_large_logits", "relative_position").outcome == "passed"
    found = verdict("survives_large_logits", "relative_position", instead=exponentiates_its_table)

    assert found.outcome == "failed"


def test_a_sigmoid_that_overflows_is_caught_at_large_logits_too(verdict):
    verdict = verdict("survives_large_logits", "squeeze_excitation", instead=overflowing_gate)

    assert verdict.outcome == "failed"
    assert "nan" in verdict.findings[0].actual.lower()


@pytest.mark.parametrize(
    ("mechanism", "filled"), [("scaled_dot_product", filled_with), ("masked_softmax", filled_scores)]
)
def test_a_fill_fails_only_where_usual_logits_pass_it(verdict, mechanism, filled):
    """-1e4 is passed by logits that occur; a fill of -1e6 is far from all of them, and is told of."""
    check, strict = "masks_hold_against_large_logits", "masks_hold_against_any_logit"

    assert verdict(check, mechanism, instead=filled(-1e4)).outcome == "failed"
    assert verdict(check, mechanism, instead=filled(-1e6)).outcome == "passed"
    assert verdict(strict, mechanism, instead=filled(-1e6)).outcome == "deviates"
    assert verdict(strict, mechanism, instead=filled(torch.finfo(torch.float64).min)).outcome == "passed"


@pytest.mark.parametrize(
    ("mechanism", "filled", "wide"),
    [
        ("scaled_dot_product", filled_with, {"head_dim": 1500}),
        ("scaled_dot_product", filled_with, {"head_dim": 1}),
        ("additive", filled_pairs, {"hidden": 1500}),
        ("additive", filled_pairs, {"hidden": 1}),
    ],
)
def test_how_wide_a_logit_is_does_not_move_the_depth_that_fills_are_held_to(
    verdict, case_of, mechanism, filled, wide
):
    given = [case_of(mechanism, seed=seed, **wide) for seed in range(4)]

    def outcome(number):
        return verdict(
            "masks_hold_against_large_logits", mechanism, instead=filled(number), given=given
        ).outcome

    assert (outcome(-1e6), outcome(-1e4)) == ("passed", "failed")


@pytest.mark.parametrize(
    ("mechanism", "wrong"),
    [("scaled_dot_product", scaled_after_the_product), ("kernel_regression", squared_distances)],
)
def test_what_overflows_float16_on_the_way_is_told_of(verdict, mechanism, wrong):
    assert verdict("large_activations_fit_float16", mechanism, instead=wrong).outcome == "deviates"


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head", "cross", "dot_product", "additive",
                                       "masked_softmax", "kernel_regression"])  # fmt: skip
def test_the_reference_holds_at_every_extreme(verdict, mechanism):
    for check in extremes.CHECKS:
        assert verdict(check.id, mechanism).outcome in ("passed", "skipped"), check.id


@pytest.mark.parametrize("mechanism", ["multi_head", "cross", "additive"])
def test_layers_do_not_keep_logits_from_being_set(verdict, mechanism):
    """Projections stand between inputs and logits: biases, or the scoring layer, set them instead."""
    assert verdict("masks_hold_against_any_logit", mechanism).cases > 0


def test_keys_that_are_the_values_are_put_far_below_and_still_differ(verdict):
    shared = {"inputs": {"queries": ("queries",), "kv": ("keys", "values")}}

    for check in ("masks_hold_against_large_logits", "masks_hold_against_any_logit"):
        assert verdict(check, "additive", interface=shared).outcome == "passed"
        assert verdict(check, "additive", instead=shows_the_last_key, interface=shared).outcome in (
            "failed",
            "deviates",
        )


def shows_the_last_key(call, built, inputs, options):
    if "valid_lens" in inputs:
        inputs = {**inputs, "valid_lens": torch.full_like(inputs["valid_lens"], inputs["kv"].shape[1])}
    return call(built, inputs, options)
