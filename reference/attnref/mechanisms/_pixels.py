"""Maps without a pixel, which have no maximum and nothing to look at."""

from torch import Tensor

from attnref._checked import ShapeError


def require_pixels(mechanism: str, x: Tensor) -> None:
    """Raise ShapeError unless the map `x` has at least one row and one column."""
    height, width = x.shape[-2:]
    if height < 1 or width < 1:
        raise ShapeError(
            f"{mechanism}: height and width must be at least 1, got height={height}, width={width}"
        )
