"""One mask, said in every form that targets take, says the same."""

import pytest
import torch
from torch import Tensor

from attncheck.targets.masks import MaskForm, forms

AXES = ("batch", "heads", "q_len", "kv_len")
LIKE = torch.zeros(1, dtype=torch.float64)


def understood(form: MaskForm, said: Tensor) -> Tensor:
    """What a target of that polarity lets attend."""
    if form.polarity == "true ignores":
        return ~said
    if form.polarity == "additive":
        return said == 0
    return said == 1 if form.polarity == "one attends" else said


@pytest.mark.parametrize("polarity", ["true attends", "true ignores", "additive", "one attends"])
def test_every_polarity_says_the_same_mask(polarity: str) -> None:
    mask = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    form = MaskForm("mask", "mask", AXES, polarity)

    assert torch.equal(understood(form, form.to_target(mask, LIKE, 7)), mask)


def test_numbers_of_a_mask_have_the_dtype_of_the_inputs() -> None:
    form = MaskForm("mask", "mask", AXES, "additive")

    assert form.to_target(torch.ones(2, 3, 5, 7, dtype=torch.bool), LIKE, 7).dtype == torch.float64


def test_lengths_count_the_keys_that_are_visible() -> None:
    mask = torch.arange(7) < torch.tensor([3, 5]).reshape(2, 1, 1, 1)
    form = MaskForm("lens", "mask", ("batch", "kv_len"), "lengths")

    assert form.to_target(mask, LIKE, 7).tolist() == [3, 5]


def test_lengths_of_the_reference_become_a_mask_where_a_target_takes_one() -> None:
    form = MaskForm("mask", "valid_lens", ("batch", "1", "kv_len"), "true ignores")

    said = form.to_target(torch.tensor([1, 3]), LIKE, 4)

    assert said.tolist() == [[[False, True, True, True]], [[False, False, False, True]]]


def test_batch_and_heads_fold_into_one_axis() -> None:
    mask = torch.rand(2, 3, 5, 7) > 0.5
    form = MaskForm("attn_mask", "mask", AXES, "true attends", folded=True)

    assert torch.equal(form.to_target(mask, LIKE, 7), mask.reshape(6, 5, 7))


def test_a_mask_of_keys_can_say_nothing_of_queries() -> None:
    assert "random_mask" not in MaskForm("m", "mask", ("batch", "kv_len"), "true attends").maskings
    assert MaskForm("m", "mask", AXES, "true attends").maskings == ()


@pytest.mark.parametrize(
    ("argument", "axes", "polarity"),
    [
        ("key_padding_mask", ("batch", "kv_len"), "true ignores"),
        ("attn_mask", AXES, "true attends"),
        ("attn_bias_mask", AXES, "additive"),
        ("valid_lens", ("batch", "kv_len"), "lengths"),
    ],
)
def test_what_a_name_suggests_is_tried_first(argument: str, axes: tuple[str, ...], polarity: str) -> None:
    first = forms(argument, "mask", AXES)[0]

    assert (first.axes, first.polarity) == (axes, polarity)
