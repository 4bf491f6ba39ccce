"""Orders of axes in which targets take and return what the reference has in its own order."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from attnref._signature import TensorShape

# Of a point in space: four halves have a norm of one.
COORDINATES = 4


@dataclass(frozen=True)
class Layout:
    """Two einops patterns: from the reference's order to the target's, and back.

    With `twin`, a second sample stands beside the first: the same numbers backwards.
    With `vectors`, points of a line become points of space: all coordinates alike, as far apart as before.
    The `single` axes have size one, and the target has no such axis.
    """

    name: str
    there: str
    back: str
    twin: bool = False
    vectors: bool = False
    single: tuple[str, ...] = ()

    @property
    def copies(self) -> bool:
        """Whether the target is handed numbers of its own, and writing to them leaves the reference's alone."""
        return self.twin or self.vectors

    def to_target(self, tensor: Tensor, rows: int = 1) -> Tensor:
        """A tensor in the reference's order, as the target wants it; tokens fill so many rows of an image."""
        if self.there != self.back:
            tensor = rearrange(tensor, self.there, **({"h": rows} if _unfolds(self.there) else {}))
        tensor = torch.cat([tensor, tensor.flip(-1)]) if self.twin else tensor
        # Halves are exact in every dtype, and so are their distances.
        return torch.stack([tensor / 2] * COORDINATES, dim=-1) if self.vectors else tensor

    def to_reference(self, tensor: Tensor, like: Tensor) -> Tensor:
        """What came back, in the reference's order; `like` is an input in that order."""
        tensor = tensor.sum(-1) / 2 if self.vectors else tensor
        tensor = tensor[:1] if self.twin else tensor
        if self.there == self.back:
            return tensor
        # Rows that follow one another are as many as they were.
        return rearrange(tensor, self.back, **({"h": like.shape[2]} if _unfolds(self.back) else {}))


def _unfolds(pattern: str) -> bool:
    return "(h w)" in pattern.split("->")[0]


_SAME = Layout("as the reference", "", "")

SEQUENCES = (
    Layout("batch first", "", ""),
    Layout("length first", "b n c -> n b c", "n b c -> b n c"),
    Layout("channels before length", "b n c -> b c n", "b c n -> b n c"),
    Layout("tokens as pixels", "b (h w) c -> b c h w", "b c h w -> b (h w) c"),
    Layout("tokens as pixels, channels last", "b (h w) c -> b h w c", "b h w c -> b (h w) c"),
    Layout("one sample, no axis", "1 n c -> n c", "n c -> 1 n c", single=("batch",)),
)
HEADED = (
    Layout("heads before length", "", ""),
    Layout("heads after length", "b h n d -> b n h d", "b n h d -> b h n d"),
    Layout("one head, no axis", "b 1 n d -> b n d", "b n d -> b 1 n d", single=("heads",)),
    Layout("one sample, no axis", "1 h n d -> h n d", "h n d -> 1 h n d", single=("batch",)),
    Layout("one head of one sample", "1 1 n d -> n d", "n d -> 1 1 n d", single=("batch", "heads")),
)
IMAGES = (
    Layout("channels first", "", ""),
    Layout("channels last", "b c h w -> b h w c", "b h w c -> b c h w"),
    Layout("rows after one another", "b c h w -> b c (h w)", "b c (h w) -> b c h w"),
)
# Of a decoder that goes step by step: what asks is one vector a sample, or the state of a recurrent layer.
QUERIES = (
    Layout("one query", "", "", single=("q_len",)),
    Layout("one query, no axis", "b 1 c -> b c", "b c -> b 1 c", single=("q_len",)),
    Layout("one query, its axis first", "b 1 c -> 1 b c", "1 b c -> b 1 c", single=("q_len",)),
)
SIGNALS = (Layout("channels first", "", ""), Layout("channels last", "b c l -> b l c", "b l c -> b c l"))
# What has no batch in the reference, and one sample of two in a target that has; points of a line as vectors.
LINES = (
    Layout("no batch", "", ""),
    Layout("a batch of two", "n -> 1 n", "1 n -> n", twin=True),
    Layout("points of space", "", "", vectors=True),
    Layout("a batch of two, points of space", "n -> 1 n", "1 n -> n", twin=True, vectors=True),
)
ROWS_OF_LINES = (
    Layout("no batch", "", ""),
    Layout("a batch of two", "n m -> 1 n m", "1 n m -> n m", twin=True),
)
# Layouts of points of space, and of numbers beside them.
NUMBERS_BESIDE = {"points of space": "no batch", "a batch of two, points of space": "a batch of two"}
VOLUMES = (
    Layout("channels first", "", ""),
    Layout("channels last", "b c t h w -> b t h w c", "b t h w c -> b c t h w"),
)

# Layouts that are options of the convention of that name.
LAYOUT_OPTIONS: Mapping[str, str] = {
    "batch first": "batch_first",
    "length first": "sequence_first",
    "channels first": "channels_first",
    "channels last": "channels_last",
    "heads before length": "heads_first",
    "heads after length": "length_first",
}

BY_NAME: Mapping[tuple[str, str], Layout] = {
    (kind, layout.name): layout
    for kind, layouts in (
        ("sequence", SEQUENCES),
        ("sequence", QUERIES),
        ("headed", HEADED),
        ("image", IMAGES),
        ("signal", SIGNALS),
        ("volume", VOLUMES),
        ("line", LINES),
        ("rows of lines", ROWS_OF_LINES),
    )
    for layout in layouts
}


def kind_of(axes: tuple[str, ...]) -> str:
    """Which family of layouts a tensor with these axes has; "" for those that have but one."""
    if "batch" not in axes and axes[-1:] in (("q_len",), ("kv_len",)):
        return "line" if len(axes) == 1 else "rows of lines"
    if "height" in axes and len(axes) == 4:
        return "image"
    if "time" in axes:
        return "volume"
    if axes[:1] == ("batch",) and len(axes) == 3 and "channels" in axes:
        return "signal"
    if len(axes) == 4 and axes[1] == "heads":
        return "headed"
    return "sequence" if len(axes) == 3 and axes[0] == "batch" else ""


def layouts_of(axes: tuple[str, ...]) -> tuple[Layout, ...]:
    """The layouts to try for a tensor with these axes, the reference's own first."""
    family = {
        "image": IMAGES,
        "volume": VOLUMES,
        "signal": SIGNALS,
        "headed": HEADED,
        "sequence": SEQUENCES,
        "line": LINES,
        "rows of lines": ROWS_OF_LINES,
    }
    return family.get(kind_of(axes), (_SAME,))


def single_axes(name: str) -> tuple[str, ...]:
    """The axes that no tensor has in a layout of that name."""
    return next((each.single for (_, known), each in BY_NAME.items() if known == name), ())


def layout(shape: TensorShape, rank: int, name: str) -> Layout:
    """The layout of that name for a tensor of a shape, in its form of that rank."""
    dims = next((dims for dims in shape.ranks if len(dims) == rank), shape.dims)
    axes = tuple(dim.axis or dim.expression for dim in dims)
    return BY_NAME.get((kind_of(axes), name), _SAME)
