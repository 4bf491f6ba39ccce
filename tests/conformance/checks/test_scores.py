"""Laws of scores: each is broken by weights that are uneven, or an output that reads more than averages."""

import pytest

from attncheck.checks import scores


def grows_by_a_tenth(out, inputs, built):
    return 1.1 * out


def adds_the_query(out, inputs, built):
    return out + inputs["q"].mean()


def adds_the_keys(out, inputs, built):
    return out + inputs["k"].mean()


def adds_the_key_layer(out, inputs, built):
    return out + sum(p.sum() for p in built.key.parameters())


def adds_the_squeeze(out, inputs, built):
    return out + built.squeeze.weight.mean()


def bends(out, inputs, built):
    return out.tanh()


def drops_the_last_key(call, built, inputs, options):
    names = [n for n in ("k", "v", "keys", "values", "y") if n in inputs]
    axis = -1 if inputs[names[0]].dim() < 3 else -2
    size = inputs[names[0]].shape[axis]
    shorter = {n: inputs[n].narrow(axis, 0, max(size - 1, 1)) for n in names}
    return call(built, {**inputs, **shorter}, options)


CHANGES = [
    ("weights_sum_to_one", "scaled_dot_product", grows_by_a_tenth),
    ("weights_sum_to_one", "masked_softmax", grows_by_a_tenth),
    ("weights_sum_to_one", "criss_cross", grows_by_a_tenth),
    ("one_key_gives_its_value", "scaled_dot_product", adds_the_query),
    ("one_key_gives_its_value", "relative_position", adds_the_key_layer),
    ("ignores_opposite_rescaling", "scaled_dot_product", adds_the_query),
    ("ignores_opposite_rescaling", "spatial_self", adds_the_key_layer),
    ("ignores_opposite_rescaling", "cbam_channel", adds_the_squeeze),
    ("ignores_shifted_keys", "scaled_dot_product", adds_the_keys),
    ("ignores_key_bias", "multi_head", adds_the_key_layer),
    ("linear_in_values", "scaled_dot_product", bends),
    ("linear_in_values", "non_local", bends),
]
UNEVEN = [
    ("zero_key_gives_the_mean", "scaled_dot_product"),
    ("zero_key_gives_the_mean", "cross"),
    ("zero_scores_give_the_mean", "additive"),
    ("zero_scores_give_the_mean", "kernel_regression"),
]


@pytest.mark.parametrize(("check", "mechanism", "change"), CHANGES)
def test_wrong_scores_break_their_law(verdict, check, mechanism, change):
    assert verdict(check, mechanism, change).outcome == "failed"


@pytest.mark.parametrize(("check", "mechanism"), UNEVEN)
def test_a_key_that_is_dropped_makes_the_mean_uneven(verdict, check, mechanism):
    assert verdict(check, mechanism, instead=drops_the_last_key).outcome == "failed"


def test_a_token_that_reads_itself_alone_is_no_mean(verdict):
    def reads_itself(out, inputs, built):
        return out + inputs["x"]

    assert verdict("zero_key_gives_the_mean", "relative_position", reads_itself).outcome == "failed"


TOGETHER = [
    ("zero_key_gives_the_mean", {"q": ("q",), "m": ("k", "v")}, "the keys are not handed over alone"),
    ("zero_key_gives_the_mean", {"x": ("q", "v"), "k": ("k",)}, "no input carries the values"),
    ("ignores_opposite_rescaling", {"x": ("q", "k"), "v": ("v",)}, "not handed over apart"),
    ("ignores_opposite_rescaling", {"q": ("q",), "m": ("k", "v")}, "not handed over apart"),
    ("ignores_shifted_keys", {"q": ("q",), "m": ("k", "v")}, "the keys are not handed over alone"),
    ("linear_in_values", {"q": ("q",), "m": ("k", "v")}, "the values are not handed over alone"),
]


@pytest.mark.parametrize(("check", "inputs", "reason"), TOGETHER)
def test_what_cannot_be_changed_alone_is_not_judged(verdict, check, inputs, reason):
    found = verdict(check, "scaled_dot_product", interface={"inputs": inputs})

    assert found.outcome == "skipped"
    assert reason in found.reason


def test_every_law_of_scores_has_an_implementation_that_breaks_it():
    assert {check.id for check in scores.CHECKS} == {row[0] for row in (*CHANGES, *UNEVEN)}
