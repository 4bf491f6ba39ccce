"""Tensors as bytes: the same values give the same, whatever their strides are."""

import torch

from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import digest, in_bytes, make


def test_a_single_number_of_any_stride_can_be_read() -> None:
    # As the first token of one sample and one class is: contiguous, and of stride 26.
    number = torch.randn(1, 1, 26, dtype=torch.float64)[:, :, 0]

    assert number.is_contiguous()
    assert number.stride() == (26, 26)
    assert torch.equal(in_bytes(number).view(torch.float64), number.reshape(1))
    assert digest(number) == digest(number.clone(memory_format=torch.contiguous_format))


def test_strides_do_not_count_and_shapes_do() -> None:
    values = torch.arange(6.0).reshape(2, 3)

    assert digest(values.T.contiguous().T) == digest(values)
    assert digest(values.reshape(3, 2)) != digest(values)
    assert digest(torch.zeros(0, 3)) != digest(torch.zeros(3, 0))


def test_an_edit_leaves_no_view_unless_strides_are_asked_for() -> None:
    recipe = Recipe((4, 6), "normal", 3).edit("narrow", 1, 2)

    assert make(recipe).is_contiguous()
    assert make(recipe).stride() == (2, 1)


def test_a_nudge_moves_every_entry_by_its_part_up_or_down() -> None:
    recipe = Recipe((50,), "normal", 3)
    before, after = make(recipe), make(recipe.edit("nudge", None, (0.01, 5)))

    moved = after / before - 1
    assert torch.allclose(moved.abs(), torch.full((50,), 0.01, dtype=torch.float64))
    assert 10 < int((moved > 0).sum()) < 40
