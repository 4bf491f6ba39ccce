"""Tables of shapes: symbolic, with numbers, and with what follows from other sizes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncheck.model.errors import UsageError
from attncheck.shapes.table import UNKNOWN, arguments, axes_of, table
from attnref import MECHANISMS
from attnref.catalogue import BY_ID


def shapes(mechanism, **given):
    return {row.name: row.shape for row in table(BY_ID[mechanism], given)}


@given(
    batch=st.integers(0, 5), q_len=st.integers(0, 7), kv_len=st.integers(1, 7),
    heads=st.integers(1, 3), head_dim=st.integers(1, 5),
)  # fmt: skip
def test_the_numbers_are_those_of_a_real_call(batch, q_len, kv_len, heads, head_dim):
    model_dim = heads * head_dim
    module = BY_ID["multi_head"].module(model_dim, heads)
    q, kv = torch.randn(batch, q_len, model_dim), torch.randn(batch, kv_len, model_dim)

    out, weights = module(q, kv, kv, need_weights=True)

    expected = {"q": q, "k": kv, "out": out, "weights": weights, **dict(module.named_parameters())}
    told = shapes("multi_head", batch=batch, q_len=q_len, kv_len=kv_len, model_dim=model_dim, heads=heads)
    assert {name: told[name] for name in expected} == {n: str(tuple(t.shape)) for n, t in expected.items()}


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda m: m.id)
def test_every_mechanism_has_a_symbolic_table_with_all_outputs(mechanism):
    rows = table(mechanism)

    assert {row.name for row in rows if row.role == "output"} <= set(mechanism.outputs)
    assert any(row.role == "output" for row in rows)
    assert axes_of(rows)


def test_without_sizes_everything_is_symbolic():
    told = shapes("cross")

    assert told["x"] == "(batch, q_len, query_size)"
    assert told["value.weight"] == "(v_dim, key_size)"


def test_a_size_that_is_missing_stays_symbolic():
    told = shapes("multi_head", batch=2, heads=3)

    assert told["q"] == "(2, q_len, query_size)"
    assert told["weights"] == "(2, 3, q_len, kv_len)"
    assert told["output.weight"] == "(model_dim, v_hidden)"


def test_a_given_size_wins_over_what_follows_from_others():
    assert shapes("multi_head", model_dim=12, heads=3, key_size=5)["k"] == "(batch, kv_len, 5)"


def test_defaults_of_defaults_are_followed():
    assert shapes("multi_head", model_dim=12, heads=3)["value.weight"] == "(12, 12)"


def test_all_ranks_of_a_tensor_are_shown():
    assert shapes("multi_head")["mask"] == "(batch, heads, q_len, kv_len) or (batch, q_len, kv_len)"


def test_a_one_by_one_convolution_keeps_its_ones():
    assert shapes("spatial_self")["query.weight"] == "(reduced, channels, 1, 1)"


def test_what_no_annotation_names_is_marked_until_sizes_are_given():
    assert shapes("cbam_spatial")["conv.weight"] == f"({', '.join(UNKNOWN * 4)})"
    assert shapes("cbam_spatial", batch=2, channels=3, height=5, width=7)["conv.weight"] == "(1, 2, 7, 7)"


@pytest.mark.parametrize(
    ("mechanism", "given", "message"),
    [
        ("multi_head", {"modeldim": 3},
         "multi_head has no axis or option 'modeldim'; did you mean 'model_dim'? "),
        ("cross", {"batch": -1}, "expected a size for batch, a whole number from 0 on, got -1"),
        ("cross", {"batch": "two"}, "expected a size for batch, a whole number from 0 on, got 'two'"),
        ("multi_head", {"model_dim": 12, "heads": 5},
         "multi_head: model_dim must be a multiple of heads, got model_dim=12, heads=5"),
        ("squeeze_excitation", {"channels": 3, "reduction": 7}, "squeeze_excitation: "),
    ],
)  # fmt: skip
def test_sizes_that_make_no_sense_say_what_was_expected(mechanism, given, message):
    with pytest.raises(UsageError) as error:
        table(BY_ID[mechanism], given)

    assert str(error.value).startswith(message)


def test_a_rule_on_the_call_names_sizes_and_reason():
    given = {"channels": 16, "height": 0, "width": 5}

    with pytest.raises(UsageError) as error:
        table(BY_ID["cbam_channel"], given)

    assert str(error.value).startswith(
        "cbam_channel: expected height >= 1 and width >= 1, got height=0, width=5: "
    )


def test_arguments_of_a_constructor_have_defaults_and_conditions():
    found = {a.name: a for a in arguments(BY_ID["multi_head"])}

    assert (found["model_dim"].default, found["model_dim"].conditions) == (
        "required",
        ("model_dim % heads == 0",),
    )
    assert found["key_size"].default == "model_dim"
    assert found["bias"].meaning == "whether the projections have a bias"


def test_a_mechanism_without_parameters_has_no_arguments():
    assert arguments(BY_ID["masked_softmax"]) == ()
