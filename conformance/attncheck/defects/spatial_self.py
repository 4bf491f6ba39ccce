"""Known mistakes of spatial self-attention."""

from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.lengths import MAPS
from attncheck.defects.pixels import GAMMA, PIXELS, SCALED, Pixels, at_every_position
from attnref.mechanisms.spatial_self import SpatialSelf


class PlainSpatialSelf(Pixels, SpatialSelf):
    """Pooled keys and values, a projection after, and the input added."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        q, k = self.flat(self.queried(x)), self.flat(self.pooled(self.keyed(x)))
        v = self.flat(self.pooled(self.valued(x)))
        read, weights = self.attended(q, k, v)
        out = self.added(self.projected_back(self.unfolded(read, x)), x)
        return (out, weights) if need_weights else out

    def pooled(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.pool)

    def projected_back(self, read: Tensor) -> Tensor:
        return at_every_position(self.output, read)

    def added(self, read: Tensor, x: Tensor) -> Tensor:
        return self.gamma * read + x


def _halves(self: Any, x: Tensor) -> Tensor:
    return x if self.pool == 1 else avg_pool2d(x, self.pool)


def _rounded_up(self: Any, x: Tensor) -> Tensor:
    return max_pool2d(x, self.pool, ceil_mode=True)


OWN: tuple[Mistake, ...] = (
    Mistake("keys_averaged_when_pooled", "Keys and values are means over squares; take maxima.",
        ("defects CH-16",), "pool > 1", "value", {"pooled": _halves}),
    Mistake("odd_rows_pooled_too", "An odd last row is pooled as well; what fills no square is no key.",
        ("errata NL-6",), "pool > 1 and (height % 2 == 1 or width % 2 == 1)", "law", {"pooled": _rounded_up}),
    Mistake("pooling_forgotten", "Keys and values are not pooled.",
        ("defects CH-16",), "pool > 1", "value", {"pooled": lambda self, x: x}),
    Mistake("output_projection_missing", "The projection after the sum is forgotten where widths allow it.",
        ("errata RP-5",), "projected and v_dim == channels", "value",
        {"projected_back": lambda self, read: read if read.shape[1] == self.channels else at_every_position(self.output, read)}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("spatial_self", (*PIXELS, *SCALED, *GAMMA, *MAPS, *OWN))
