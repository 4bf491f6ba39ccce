"""A layout goes there and back without loss."""

import pytest
import torch
from torch import Tensor

from attncheck.targets.discover import discover
from attncheck.targets.layouts import BY_NAME, Layout, kind_of
from attnref.catalogue import BY_ID

RANKS = {"line": 1, "rows of lines": 2, "sequence": 3, "signal": 3, "headed": 4, "image": 4, "volume": 5}
TWO_WAY = [(kind, layout) for (kind, _), layout in BY_NAME.items() if layout.there == "" or layout.back != ""]


@pytest.mark.parametrize(("kind", "layout"), TWO_WAY)
def test_back_undoes_there(kind: str, layout: Layout) -> None:
    sizes = (2, 3, 5, 7, 11)[: RANKS[kind]]
    # One head without an axis for it can be said only where there is one head.
    sizes = (sizes[0], 1, *sizes[2:]) if layout.name == "one head, no axis" else sizes
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


def test_what_has_no_batch_may_be_given_as_a_batch_of_one() -> None:
    def of_batches(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        weights = (-((queries[:, :, None] - keys[:, None]) ** 2) / 2).softmax(-1)
        return (weights @ values[:, :, None]).squeeze(2)

    found = discover(of_batches, BY_ID["kernel_regression"])

    assert (found.certainty, found.result_layout) == ("verified", "a batch of one")
