"""One matrix applied at every position of a map: a convolution whose kernel is one wide."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from attnref._checked import checked


@checked
def pointwise(
    x: Float[Tensor, "batch channels *positions"],
    weight: Float[Tensor, "out_channels channels"],
    bias: Float[Tensor, " out_channels"] | None = None,
) -> Float[Tensor, "batch out_channels *positions"]:
    """Project the channels of every position; a batch or a map without entries stays so."""
    return linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)
