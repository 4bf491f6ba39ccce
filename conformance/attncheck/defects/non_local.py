"""Known mistakes of the non-local block."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.lengths import MAPS
from attncheck.defects.pixels import PIXELS, Pixels, at_every_position
from attnref.mechanisms.non_local import NonLocal

_MAXIMA: Mapping[int, Any] = {1: (max_pool1d, 2), 2: (max_pool2d, 2), 3: (max_pool3d, (1, 2, 2))}
_MEANS: Mapping[int, Any] = {1: (avg_pool1d, 2), 2: (avg_pool2d, 2), 3: (avg_pool3d, (1, 2, 2))}


class PlainNonLocal(Pixels, NonLocal):
    """Sub-sampled keys and values, a projection and a norm after, and the input added."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        before = self.pooled(x) if self.sub_sample and self.pool_first else x
        k, v = self.keyed(before), self.valued(before)
        if self.sub_sample and not self.pool_first:
            k, v = self.pooled(k), self.pooled(v)
        q, k, v = self.flat(self.asked(x)), self.flat(k), self.flat(v)
        read, weights = self.attended(q, k, v)
        out = self.added(self.normed(self.projected_back(self.unfolded(read, x))), x)
        return (out, weights) if need_weights else out

    def asked(self, x: Tensor) -> Tensor:
        return self.queried(x)

    def pooled(self, x: Tensor) -> Tensor:
        pool, size = _MAXIMA[self.rank]
        return pool(x, size)  # type: ignore[no-any-return]  # one of three pools

    def factor(self, q: Tensor, k: Tensor) -> float:
        return float(q.shape[1] ** -0.5) if self.scaled and self.pairwise == "embedded_gaussian" else 1.0

    def related(self, logits: Tensor) -> Tensor:
        return self.weighed(logits) if self.pairwise == "embedded_gaussian" else self.divided(logits)

    def divided(self, logits: Tensor) -> Tensor:
        return logits / logits.shape[-1]

    def projected_back(self, read: Tensor) -> Tensor:
        return at_every_position(self.output, read)

    def normed(self, projected: Tensor) -> Tensor:
        return projected if self.norm is None else self.norm(projected)

    def added(self, read: Tensor, x: Tensor) -> Tensor:
        return x + read


def _means(self: Any, x: Tensor) -> Tensor:
    pool, size = _MEANS[self.rank]
    return pool(x, size)  # type: ignore[no-any-return]  # one of three pools


def _time_too(self: Any, x: Tensor) -> Tensor:
    if self.rank == 3 and x.shape[2] > 1:
        return max_pool3d(x, 2)
    return PlainNonLocal.pooled(self, x)


OWN: tuple[Mistake, ...] = (
    Mistake("input_not_added", "What is read comes back alone; add the input.",
        ("errata SC-1",), "always", "law", {"added": lambda self, read, x: read}),
    Mistake("input_added_in_place", "The result is added into the caller's input.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene",
        {"added": lambda self, read, x: x.add_(read)}),
    Mistake("scale_argument_ignored", "The logits are never scaled.",
        ("errata NL-7",), "scaled and pairwise == 'embedded_gaussian' and reduced > 1", "value",
        {"factor": lambda self, q, k: 1.0}),
    Mistake("always_scaled", "The logits are always divided by √reduced.",
        ("errata NL-7",), "not scaled and reduced > 1", "value",
        {"factor": lambda self, q, k: q.shape[1] ** -0.5}),
    Mistake("dot_product_not_divided", "The products are not divided by the number of keys.",
        ("open-mmlab/mmcv#331",), "pairwise == 'dot_product'", "value",
        {"divided": lambda self, logits: logits}),
    Mistake("dot_product_divided_by_queries", "The products are divided by the number of queries; divide by the keys.",
        ("open-mmlab/mmcv#331",), "pairwise == 'dot_product' and sub_sample", "value",
        {"divided": lambda self, logits: logits / logits.shape[-2]}),
    Mistake("softmax_in_dot_product_too", "A softmax is taken of the dot product, which has none.",
        ("open-mmlab/mmaction2#129",), "pairwise == 'dot_product'", "value",
        {"divided": lambda self, logits: logits.softmax(-1)}),
    Mistake("keys_averaged_when_pooled", "Sub-sampling takes means; take maxima.",
        ("defects CH-16",), "sub_sample", "value", {"pooled": _means}),
    Mistake("time_pooled_too", "Sub-sampling halves time as well; it halves height and width.",
        ("errata NL-1",), "sub_sample and rank == 3 and time > 1", "value", {"pooled": _time_too}),
    Mistake("norm_missing", "The norm after the projection is forgotten.",
        ("open-mmlab/mmcv#331",), "norm", "value", {"normed": lambda self, projected: projected}),
    Mistake("output_projection_of_the_weight_only", "The bias of the last projection is forgotten.",
        ("pytorch/pytorch#51662",), "bias and not norm", "value",
        {"projected_back": lambda self, read: (read.movedim(1, -1) @ self.output.weight.flatten(1).mT).movedim(-1, 1)}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("non_local", (*PIXELS, *MAPS, *OWN))
