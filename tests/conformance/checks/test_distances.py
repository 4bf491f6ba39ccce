"""Laws of distances and of weights as the answer: each is broken by what should cancel and does not."""

import pytest

from attncheck.checks import distances


def adds_ten(out, inputs, built):
    return out + 10


def adds_the_scores(out, inputs, built):
    return out + inputs["scores"].sum()


def adds_a_trace(out, inputs, built):
    return out + 1e-12


def adds_the_queries(out, inputs, built):
    return out + inputs["queries"].sum()


def adds_the_score_layer(out, inputs, built):
    return out + built.score.weight.sum()


def adds_the_width(out, inputs, built):
    return out + built.inverse_width


CHANGES = [
    ("stays_within_values", "dot_product", adds_ten),
    ("stays_within_values", "kernel_regression", adds_ten),
    ("ignores_shifted_scores", "masked_softmax", adds_the_scores),
    ("masked_weights_are_zero", "masked_softmax", adds_a_trace),
    ("ignores_joint_sign", "additive", adds_the_score_layer),
    ("ignores_joint_sign", "kernel_regression", adds_the_queries),
    ("ignores_joint_sign", "kernel_regression", adds_the_width),
    ("ignores_joint_shift", "kernel_regression", adds_the_queries),
    ("inverse_width_scales_distance", "kernel_regression", adds_the_width),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_what_does_not_cancel_breaks_its_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


def test_hidden_values_do_not_widen_what_the_output_may_be(verdict):
    """Ignoring the lengths, the output can lie outside of the values that are visible."""

    def forgets_lengths(call, built, inputs, options):
        return call(built, {n: t for n, t in inputs.items() if n != "valid_lens"}, options)

    assert verdict("stays_within_values", "dot_product", instead=forgets_lengths).outcome == "failed"


def raises_when(negative):
    def call_or_raise(call, built, inputs, options):
        if negative(built, inputs):
            raise ValueError("the width must be positive")
        return call(built, inputs, options)

    return call_or_raise


def test_a_width_may_be_refused_for_being_negative_alone(verdict, case_of):
    refuses = raises_when(lambda built, inputs: float(built.inverse_width.detach()) < 0)

    # By turns of the seed it is the points that are negated, and the width.
    points, width = (
        verdict(
            "ignores_joint_sign",
            "kernel_regression",
            instead=refuses,
            given=[case_of("kernel_regression", seed)],
        )
        for seed in (0, 1)
    )

    assert points.outcome == "passed"
    assert width.outcome == "skipped"
    assert "a negative width is refused: ValueError" in width.reason


def test_negative_points_may_not_be_refused(verdict):
    seen = []

    def second(built, inputs):
        seen.append(inputs["queries"])
        return len(seen) > 1 and bool((seen[-2] == -seen[-1]).all())

    found = verdict("ignores_joint_sign", "kernel_regression", instead=raises_when(second))

    assert found.outcome == "failed"
    assert found.findings[0].kind == "raises ValueError"


def test_what_raises_for_any_sign_is_for_others_to_report(verdict):
    always = raises_when(lambda built, inputs: True)

    found = verdict("ignores_joint_sign", "kernel_regression", instead=always)

    assert found.outcome == "skipped"
    assert "the call raises, which another check reports" in found.reason


def test_every_law_of_distances_has_an_implementation_that_breaks_it():
    assert {check.id for check in distances.CHECKS} == {check for check, _, _ in CHANGES}
