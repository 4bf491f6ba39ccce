"""Known mistakes of Nadaraya–Watson kernel regression."""

from typing import Any

from torch import Tensor, cdist

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.kernel_regression import KernelRegression


class PlainKernelRegression(KernelRegression):
    """Distances, kernel and average, one step a method."""

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, *, need_weights: bool = False) -> Any:
        weights = self.weighed(self.kernel(self.widened(self.distances(queries, keys))))
        out = self.averaged(weights, self.sources(keys, values))
        return (out, weights) if need_weights else out

    def distances(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries.unsqueeze(1) - keys

    def widened(self, distances: Tensor) -> Tensor:
        return distances * self.inverse_width

    def kernel(self, distances: Tensor) -> Tensor:
        if not distances.shape[-1]:
            return distances
        nearest = distances.abs().amin(-1, keepdim=True).detach()
        return -(distances - nearest) * (distances + nearest) / 2

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def sources(self, keys: Tensor, values: Tensor) -> Tensor:
        return values

    def averaged(self, weights: Tensor, values: Tensor) -> Tensor:
        return (weights * values).sum(-1)


def _rooted(distances: Tensor) -> Tensor:
    return (distances**2).sqrt()


def _squared(self: Any, distances: Tensor) -> Tensor:
    # What is not divided by a row's sum would keep the shift by the nearest key.
    return -(distances**2) / 2


DEFECTS: tuple[Defect, ...] = made_in("kernel_regression", (
    Mistake("width_multiplied", "The distance is divided by the inverse width; multiply by it.",
        ("errata 4.3",), "kv_len > 1", "law", {"widened": lambda self, d: d / self.inverse_width}),
    Mistake("width_ignored", "The learned width has no effect; multiply distances by it.",
        ("errata 4.3",), "kv_len > 1", "law", {"widened": lambda self, d: d + 0 * self.inverse_width}),
    Mistake("width_not_squared", "The width multiplies the squared distance; it is to be squared with it.",
        ("errata 4.3",), "kv_len > 1", "law",
        {"widened": lambda self, d: d,
         "kernel": lambda self, d: self.inverse_width * PlainKernelRegression.kernel(self, d)}),
    Mistake("half_missing", "The squared distance is not halved: the kernel is exp(-d²/2).",
        ("errata 4.3",), "kv_len > 1", "value",
        {"kernel": lambda self, d: 2 * PlainKernelRegression.kernel(self, d)}),
    Mistake("sign_missing", "The exponent is positive, so far keys count most; it is -d²/2.",
        ("errata 4.3",), "kv_len > 1", "value", {"kernel": lambda self, d: -PlainKernelRegression.kernel(self, d)}),
    Mistake("absolute_distance", "The exponent is -|d|, another kernel; the Gaussian's is -d²/2.",
        ("errata 4.3",), "kv_len > 1", "value", {"kernel": lambda self, d: -d.abs()}),
    Mistake("boxcar_kernel", "All keys weigh the same; near ones are to count most.",
        ("errata 24",), "kv_len > 1", "value", {"kernel": lambda self, d: d * 0}),
    Mistake("weights_not_normalised", "The kernel's values are not divided by their sum.",
        ("idiap/fast-transformers, performer-pytorch#40",), "kv_len > 1", "law",
        {"kernel": _squared, "weighed": lambda self, logits: logits.exp()}),
    Mistake("softmax_over_queries", "The softmax runs over queries; for each query it is to run over keys.",
        ("labmlai/annotated_deep_learning_paper_implementations#146",), "q_len > 1 or kv_len > 1", "law",
        {"kernel": _squared, "weighed": lambda self, logits: logits.softmax(0)}),
    Mistake("keys_averaged", "The keys are averaged where the values belong.",
        ("yflyzhang/AnnotatedTransformer#1",), "always", "law", {"sources": lambda self, keys, values: keys}),
    Mistake("distances_added", "Queries and keys are added; their difference is the distance.",
        ("errata 4.3",), "kv_len > 1", "law", {"distances": lambda self, q, k: q.unsqueeze(1) + k}),
    Mistake("values_summed", "The mean of values is multiplied by their number.",
        ("errata 24",), "kv_len > 1", "law",
        {"averaged": lambda self, weights, values: (weights * values).sum(-1) * weights.shape[-1]}),
    Mistake("squares_overflow", "In float16 the square of a distance above 256 overflows; subtract the nearest first.",
        ("errata 4.3",), "always", "value", {"kernel": _squared}, needs="--strict"),
    Mistake("distances_by_cdist", "torch.cdist has no half precision; subtract and square.",
        ("pytorch/pytorch#136748",), "always", "shape",
        {"distances": lambda self, q, k: cdist(q.reshape(-1, 1, 1), k.reshape(*k.shape[:-1], -1, 1)).flatten(1)},
        needs="--strict"),
    Mistake("width_without_gradient", "The width is detached and cannot be learned.",
        ("facebookresearch/xformers#636",), "kv_len > 1", "gradient",
        {"widened": lambda self, d: d * self.inverse_width.detach()}),
    Mistake("root_of_the_distance",
        "The distance is a root that is squared again, and a root has no gradient at zero; square at once.",
        ("pytorch/pytorch#2421",), "always", "gradient", {"distances": lambda self, q, k: _rooted(q.unsqueeze(1) - k)}),
    Mistake("values_of_the_first_query", "Where each query has values of its own, all get the first one's.",
        ("errata 4.3",), "q_len > 1", "value",
        {"sources": lambda self, keys, values: values[0] if values.dim() == 2 else values}),
    Mistake("shared_keys_in_reverse", "Keys that all queries share are taken in reverse; they belong to the values in order.",
        ("errata 4.3",), "kv_len > 1", "value",
        {"distances": lambda self, q, k: q.unsqueeze(1) - (k.flip(0) if k.dim() == 1 else k)}),
    Mistake("width_clamped_in_place", "A call changes the learned width; only an optimiser does.",
        ("xmu-xiaoma666/External-Attention-pytorch MUSEAttention",), "always", "hygiene",
        {"widened": lambda self, d: d * self.inverse_width.data.mul_(0.9)}),
))  # fmt: skip
