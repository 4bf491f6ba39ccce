"""A layout goes there and back without loss."""

import pytest
import torch
from torch import Tensor

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.layouts import BY_NAME, Layout, kind_of
from attnref.catalogue import BY_ID

RANKS = {"line": 1, "rows of lines": 2, "sequence": 3, "signal": 3, "headed": 4, "image": 4, "volume": 5}
TWO_WAY = [(kind, layout) for (kind, _), layout in BY_NAME.items() if layout.there == "" or layout.back != ""]


@pytest.mark.parametrize(("kind", "layout"), TWO_WAY)
def test_back_undoes_there(kind: str, layout: Layout) -> None:
    sizes = (2, 3, 5, 7, 11)[: RANKS[kind]]
    # What has no axis can be said only where there is one of it.
    ones = {0 if axis == "batch" else 1 for axis in layout.single}
    sizes = tuple(1 if place in ones else size for place, size in enumerate(sizes))
    tensor = torch.arange(torch.Size(sizes).numel()).reshape(sizes)

    assert torch.equal(layout.to_reference(layout.to_target(tensor), tensor), tensor)


@pytest.mark.parametrize(
    ("axes", "kind"),
    [
        (("batch", "q_len", "model_dim"), "sequence"),
        (("batch", "heads", "q_len", "head_dim"), "headed"),
        (("batch", "channels", "height", "width"), "image"),
        (("batch", "channels", "time", "height", "width"), "volume"),
        (("batch", "channels", "length"), "signal"),
        (("batch",), ""),
    ],
)
def test_axes_tell_which_layouts_a_tensor_may_have(axes: tuple[str, ...], kind: str) -> None:
    assert kind_of(axes) == kind


def of_batches(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    weights = (-((queries[:, :, None] - keys[:, None]) ** 2) / 2).softmax(-1)
    return (weights @ values[:, :, None]).squeeze(2)


def of_points(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    squares = (queries.unsqueeze(-2) - keys.unsqueeze(-3)).square().sum(-1)
    return (-squares / 2).softmax(-1) @ values


@pytest.mark.parametrize(
    ("target", "layout"), [(of_batches, "a batch of two"), (of_points, "points of space")]
)
def test_what_stands_on_a_line_may_be_given_in_batches_or_as_points_of_space(target, layout: str) -> None:
    found = discover(target, BY_ID["kernel_regression"])

    assert (found.certainty, found.result_layout) == ("verified", layout)


def of_batches_of_points(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Three axes are needed, and numbers of the last are coordinates."""
    _, _, width = queries.shape
    return of_points(queries, keys, values).reshape(*queries.shape[:2], width)


def of_numbers_beside_points(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    squares = (queries[:, None] - keys).square().sum(2)
    return (-squares / 2).softmax(1) @ values[:, None] @ values.new_ones(1)


def sums_over_samples(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return of_batches(queries, keys, values).mean(0, keepdim=True).expand(queries.shape)


def sums_before_squaring(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    distances = (queries[:, None] - keys).sum(2)
    return (-(distances**2) / 2).softmax(1) @ values


def shifts_in_place(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Keys and queries move together, and nobody sees it but the caller."""
    keys += 1
    return of_points(queries + 1, keys, values)


@pytest.mark.parametrize(
    ("target", "broken"),
    [
        (of_batches_of_points, ""),
        (of_numbers_beside_points, ""),
        (sums_over_samples, "matches_the_reference"),
        (sums_before_squaring, "matches_the_reference"),
        (shifts_in_place, "never_mutates_inputs"),
    ],
)
def test_it_is_judged_in_the_form_in_which_it_is_given(target, broken: str) -> None:
    report = run(target, mechanism="kernel_regression", budget="quick", seed=3)

    failed = {verdict.check for verdict in report.verdicts if verdict.outcome == "failed"}
    assert broken in failed if broken else report.conforms, failed
