"""References keep their own annotations for all sizes; what is a symbol and what a sample is said."""

import pytest

from attncheck.shapes.reference import Form, prove_reference
from attnref.catalogue import BY_ID


@pytest.mark.parametrize(
    ("mechanism", "form", "scope"),
    [
        ("masked_softmax", Form(given={"valid_lens": 2}), ""),
        ("squeeze_excitation", Form(), "channels of the constructor are symbols, at reduction=4"),
        ("channel_self", Form(), "channels of the constructor are symbols"),
        (
            "relative_position",
            Form({"height": 2}),
            "model_dim, tokens of the constructor are symbols, at heads=3",
        ),
        ("multi_head", Form(result="weights"), "model_dim of the constructor are symbols, at heads=3"),
    ],
)
def test_a_reference_is_proved_with_the_sizes_of_its_constructor(mechanism, form, scope):
    # The limit is far off, so that a busy machine does not change the answer.
    proof = prove_reference(BY_ID[mechanism], form=form, seconds=200)

    assert (proof.status, proof.scope) == ("proved", scope)
    assert {path.replayed for path in proof.paths} == {"confirmed"}


def test_sizes_that_cannot_be_symbols_are_sampled_and_named():
    proof = prove_reference(BY_ID["cross"])

    assert proof.status == "proved"
    assert proof.scope == (
        "the constructor's sizes were sampled, at query_size=5 key_size=7 head_dim=11 v_dim=13; "
        "query_size=10 key_size=14 head_dim=22 v_dim=26 "
        "(as symbols: 7 axes have too many paths)"
    )


def test_a_rule_of_the_contract_narrows_the_claim():
    proof = prove_reference(BY_ID["relative_position"], form=Form({"height": 2}), seconds=200)

    assert proof.status == "proved"
    assert "tokens % 2 == 0" in proof.domain


def test_sizes_that_are_never_legal_leave_nothing_to_prove():
    proof = prove_reference(BY_ID["squeeze_excitation"], {"reduction": 0})

    assert (proof.status, proof.paths) == ("open", ())
    assert proof.reason == "no sizes are legal"
