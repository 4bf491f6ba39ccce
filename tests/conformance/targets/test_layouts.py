"""A layout goes there and back without loss."""

import pytest
import torch

from attncheck.targets.layouts import BY_NAME, Layout, kind_of

RANKS = {"sequence": 3, "signal": 3, "headed": 4, "image": 4, "volume": 5}
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
