"""Conventions: samples that are dealt out and words that the answers contradict are found, listed options are not."""

import pytest
import torch

from attncheck.checks import conventions


def deals_out(call, built, inputs, options):
    """Keys of one sample for several queries' samples: a share for each."""
    x, y = inputs["x"], inputs["y"]
    return call(built, {**inputs, "y": y.reshape(x.shape[0], -1, y.shape[2])}, options)


def shares(call, built, inputs, options):
    x, y = inputs["x"], inputs["y"]
    return call(built, {**inputs, "y": y.expand(x.shape[0], *y.shape[1:])}, options)


def overflows(call, built, inputs, options):
    results = shares(call, built, inputs, options)
    return {**results, "out": results["out"] * torch.nan} if len(inputs["y"]) > 1 else results


def takes_the_first_query(call, built, inputs, options):
    results = shares(call, built, inputs, options)
    return results if len(inputs["y"]) > 1 else {**results, "out": results["out"][:1]}


def test_keys_of_one_sample_are_refused_or_shared_but_never_dealt_out(verdict, case_of):
    two = {"given": [case_of("cross", batch=2, kv_len=4)]}

    assert verdict("never_regroups_samples", "cross", **two).outcome == "passed"
    assert verdict("never_regroups_samples", "cross", instead=shares, **two).outcome == "passed"
    found = verdict("never_regroups_samples", "cross", instead=deals_out, **two)
    assert (found.outcome, found.findings[0].kind) == ("deviates", "regroups")
    assert found.findings[0].expected == "an error, or the one sample for all 2"
    first = verdict("never_regroups_samples", "cross", instead=takes_the_first_query, **two)
    assert first.outcome == "deviates"


@pytest.mark.parametrize(
    ("batch", "instead", "reason"), [(1, None, "batch is 1"), (2, overflows, "the output is not finite")]
)
def test_where_there_is_nothing_to_regroup_or_to_compare_the_reason_says_so(
    verdict, case_of, batch, instead, reason
):
    found = verdict(
        "never_regroups_samples", "cross", instead=instead, given=[case_of("cross", batch=batch, kv_len=4)]
    )

    assert (found.outcome, found.reason) == ("skipped", f"no case could be judged: {reason}")


def test_one_tensor_cannot_be_regrouped(verdict):
    assert verdict("never_regroups_samples", "squeeze_excitation").reason == "the target takes one tensor"


STATED = {"documented": {"layout": ("batch_first", "x: (batch, length, channels)")}}


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ({"layout": "sequence_first"}, "failed"),
        ({"layout": "batch_first"}, "passed"),
        # Another form of the same meaning.
        ({"layout": "channels_last"}, "passed"),
        ({}, "passed"),
    ],
)
def test_what_alone_explains_the_answers_is_what_the_words_say(verdict, found, outcome):
    told = verdict("contradicts_its_documentation", "cross", interface={**STATED, "conventions": found})

    assert told.outcome == outcome


def test_the_words_are_quoted_beside_what_explains_the_answers(verdict):
    told = verdict(
        "contradicts_its_documentation",
        "cross",
        interface={**STATED, "conventions": {"layout": "sequence_first"}},
    )

    (finding,) = told.findings
    assert finding.expected == "layout batch_first, as it says itself: x: (batch, length, channels)"
    assert finding.actual == "sequence_first alone explains its answers"


def test_what_states_nothing_contradicts_nothing(verdict):
    assert "state no convention" in verdict("contradicts_its_documentation", "cross").reason


def test_every_check_of_conventions_has_an_implementation_that_breaks_it():
    assert {check.id for check in conventions.CHECKS} == {
        "never_regroups_samples",
        "contradicts_its_documentation",
    }
