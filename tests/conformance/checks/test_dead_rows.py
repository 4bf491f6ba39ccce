"""Rows without keys: zeros, NaN and the mean are conventions, everything else is a mistake."""

import pytest
import torch

from attncheck.checks import dead_rows
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

LENGTHS = ("masked_softmax", "dot_product", "additive")


def counts_none_as_one(call, built, inputs, options):
    """A length of 0 shows the first key."""
    if "valid_lens" in inputs:
        inputs = {**inputs, "valid_lens": inputs["valid_lens"].clamp(min=1)}
    return call(built, inputs, options)


def refuses_none(call, built, inputs, options):
    if "valid_lens" in inputs and bool((inputs["valid_lens"] < 1).any()):
        raise ValueError("every sample needs a key")
    return call(built, inputs, options)


def spoils_the_next_sample(call, built, inputs, options):
    results = call(built, inputs, options)
    empty = inputs.get("valid_lens", torch.ones(1)).reshape(-1) < 1
    if not bool(empty.any()):
        return results
    return {**results, "out": results["out"] + 1.0}


def without_keys(value):
    def change(out, inputs, built):
        lengths = inputs.get("valid_lens")
        if lengths is None:
            return out
        dead = (lengths < 1).reshape(lengths.shape[0], -1, 1)
        return out.masked_fill(dead, value)

    return change


@pytest.mark.parametrize("mechanism", LENGTHS)
def test_a_length_of_zero_that_shows_the_first_key_is_caught(verdict, mechanism):
    found = verdict("treats_dead_rows_by_a_convention", mechanism, instead=counts_none_as_one)

    assert found.outcome == "failed"
    assert found.findings[0].expected == "zeros, NaN or the mean of the values"


def averages(call, built, inputs, options):
    """A sample without keys gets the mean of the values."""
    out = call(built, inputs, options)["out"]
    empty = (inputs["valid_lens"] < 1).reshape(len(out), -1, 1)
    return {"out": torch.where(empty, inputs["kv"].mean(1, keepdim=True), out)}


def test_the_mean_is_a_convention_too_where_keys_are_the_values(verdict):
    shared = {"inputs": {"queries": ("queries",), "kv": ("keys", "values")}}

    found = verdict("treats_dead_rows_by_a_convention", "dot_product", instead=averages, interface=shared)

    assert found.outcome == "passed"
    assert found.cases


@pytest.mark.parametrize("mechanism", LENGTHS)
def test_zeros_and_nan_are_conventions_for_a_length_of_zero(verdict, mechanism):
    for change in (None, without_keys(torch.nan)):
        assert verdict("treats_dead_rows_by_a_convention", mechanism, change).outcome == "passed"


@pytest.mark.parametrize(("fill", "outcome"), [(-1e9, "passed"), (-1e4, "failed")])
def test_a_fill_that_is_added_must_swallow_the_scores_in_float32(verdict, fill, outcome):
    def adds(call, built, inputs, options):
        mask = inputs.pop("mask", None)
        bias = torch.zeros((), dtype=inputs["q"].dtype)
        if mask is not None:
            bias = torch.zeros(mask.shape, dtype=inputs["q"].dtype).masked_fill(~mask, fill)
        scores = inputs["q"] @ inputs["k"].mT * inputs["q"].shape[-1] ** -0.5
        return {"out": (scores + bias).softmax(-1) @ inputs["v"]}

    interface = {"takes": ("mask",), "gives": ("out",)}
    found = verdict(
        "treats_dead_rows_by_a_convention", "scaled_dot_product", instead=adds, interface=interface
    )

    assert found.outcome == outcome


def test_a_length_of_zero_may_be_refused(verdict, case_of):
    for check in ("treats_dead_rows_by_a_convention", "dead_rows_spare_the_others"):
        found = verdict(check, "dot_product", instead=refuses_none, given=[case_of("dot_product")])

        assert found.outcome == "skipped"
        assert "a sample without keys is refused" in found.reason


def test_what_a_constructor_refuses_is_no_mistake_at_dead_rows(verdict):
    def refuses(module):
        raise ValueError("not these sizes")

    for check in (
        "treats_dead_rows_by_a_convention",
        "dead_rows_spare_the_others",
        "dead_rows_leave_gradients_finite",
    ):
        assert verdict(check, "cross", built=refuses).outcome == "skipped"


def test_a_sample_without_keys_that_spoils_the_next_one_is_caught(verdict):
    found = verdict("dead_rows_spare_the_others", "dot_product", instead=spoils_the_next_sample)

    assert found.outcome == "failed"
    assert found.findings[0].expected.startswith("the rows beside a dead one")


def test_gradients_of_a_sample_without_keys_are_judged(verdict):
    def by_nan(call, built, inputs, options):
        results = call(built, inputs, options)
        if bool((inputs.get("valid_lens", torch.ones(1)) < 1).any()):
            # Its value is zero and its gradient is 0 · inf.
            return {**results, "out": results["out"] + (inputs["queries"].sum() * 0).sqrt() * 0}
        return results

    found = verdict("dead_rows_leave_gradients_finite", "dot_product", instead=by_nan)

    assert found.outcome == "failed"
    assert found.findings[0].kind == "NaN"


def test_a_mask_hides_single_queries_and_lengths_whole_samples():
    def hides(mechanism):
        return dead_rows.hides_single_queries(
            Subject(BY_ID[mechanism], Reference(BY_ID[mechanism]).interface)
        )

    assert hides("scaled_dot_product")
    assert not hides("dot_product")


BOTH = ("treats_dead_rows_by_a_convention", "dead_rows_spare_the_others")


@pytest.mark.parametrize("check", BOTH)
def test_an_output_of_another_shape_is_for_others_to_judge(verdict, case_of, check):
    def flattened(out, inputs, built):
        return out.flatten()

    found = verdict(check, "scaled_dot_product", flattened, given=[case_of("scaled_dot_product")])

    assert (found.outcome, found.reason) == (
        "skipped",
        "no case could be judged: the output has another shape",
    )


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "dot_product"])
@pytest.mark.parametrize(
    ("check", "sizes", "outcome"),
    [
        (BOTH[0], {"kv_len": 1}, "skipped"),
        (BOTH[0], {"q_len": 0}, "skipped"),
        (BOTH[0], {"batch": 0}, "skipped"),
        (BOTH[0], {"kv_len": 2, "q_len": 1, "batch": 1}, "passed"),
        (BOTH[1], {"kv_len": 0}, "skipped"),
        (BOTH[1], {"q_len": 0}, "skipped"),
        (BOTH[1], {"batch": 0}, "skipped"),
        (BOTH[1], {"kv_len": 1, "q_len": 1, "batch": 1}, "passed"),
    ],
)
def test_a_row_takes_a_sample_a_query_and_a_key(verdict, case_of, mechanism, check, sizes, outcome):
    assert verdict(check, mechanism, given=[case_of(mechanism, **sizes)]).outcome == outcome


@pytest.mark.parametrize("shown", [False, True])
def test_a_mask_that_samples_share_hides_a_row_in_each(verdict, case_of, shown):
    """What the row itself gets in any sample is not looked at, and what another one gets is."""

    def spoils(call, built, inputs, options):
        results = call(built, inputs, options)
        if "mask" not in inputs:
            return results
        dead = ~inputs["mask"].any(-1, keepdim=True).expand(*results["out"].shape[:-1], 1)
        return {**results, "out": results["out"].masked_fill(~dead if shown else dead, 7.0)}

    shared = {"varies": {"mask": ("q_len", "kv_len")}}
    found = verdict(BOTH[1], "scaled_dot_product", instead=spoils, interface=shared,
                    given=[case_of("scaled_dot_product", batch=3, q_len=4)])  # fmt: skip

    assert found.outcome == ("failed" if shown else "passed")
