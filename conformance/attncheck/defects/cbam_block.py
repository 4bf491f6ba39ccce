"""Known mistakes of the residual block with CBAM."""

from typing import Any

from torch import Tensor
from torch.nn.functional import batch_norm

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.squeeze_excitation import overflowing_sigmoid
from attnref.mechanisms.cbam_block import CbamBlock


class PlainCbamBlock(CbamBlock):
    """Features, gates and skip, one step a method."""

    def forward(self, x: Tensor) -> Any:
        return self.ended(self.added(self.gated(self.features(x)), self.skipped(x)))

    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()  # type: ignore[no-any-return]  # a module returns a tensor here

    def gated(self, features: Tensor) -> Tensor:
        return self.spatial(self.channel(features))  # type: ignore[no-any-return]  # a module returns a tensor here

    def skipped(self, x: Tensor) -> Tensor:
        return self.skip(x)  # type: ignore[no-any-return]  # a module returns a tensor here

    def added(self, gated: Tensor, skip: Tensor) -> Tensor:
        return gated + skip

    def ended(self, total: Tensor) -> Tensor:
        return total.relu()


def _side_by_side(self: Any, features: Tensor) -> Tensor:
    return self.channel(features) + self.spatial(features)  # type: ignore[no-any-return]  # a tensor


def _gate_of_the_input(self: Any, features: Tensor) -> Tensor:
    gate = self.spatial(features) / features.where(features != 0, features + 1)
    return self.channel(features) * gate  # type: ignore[no-any-return]  # a tensor


def _lone_samples_as_in_evaluation(self: Any, x: Tensor) -> Tensor:
    norm, features = self.norm, self.conv(x)
    of_the_batch = self.training and len(x) > 1
    kept = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return batch_norm(features, *kept, of_the_batch, norm.momentum, norm.eps).relu()


def _without_statistics(self: Any, x: Tensor) -> Tensor:
    norm, features = self.norm, self.conv(x)
    mean, variance = (None, None) if self.training else (norm.running_mean, norm.running_var)
    return batch_norm(features, mean, variance, norm.weight, norm.bias, self.training).relu()


def _overflowing(self: Any, features: Tensor) -> Tensor:
    gate = self.channel
    pooled = (features.mean((-2, -1)), features.amax((-2, -1)))
    logits = sum(gate.excite(gate.squeeze(maps).relu()) for maps in pooled)
    return self.spatial(features * overflowing_sigmoid(logits)[..., None, None])  # type: ignore[no-any-return]  # a tensor


def _batch_exchanged(self: Any, x: Tensor) -> Tensor:
    features: Tensor = self.norm(self.conv(x)).relu()
    return (
        features.transpose(0, 1).contiguous().transpose(0, 1)
        if features.shape[0] != features.shape[1]
        else features.transpose(0, 1)
    )


DEFECTS: tuple[Defect, ...] = made_in("cbam_block", (
    Mistake("spatial_gate_first", "The spatial gate stands before the channel gate; it stands after.",
        ("defects CH-11",), "always", "value", {"gated": lambda self, f: self.channel(self.spatial(f))}),
    Mistake("gates_side_by_side", "Both gates scale the features and the results are added; one follows the other.",
        ("defects CH-11",), "always", "value", {"gated": _side_by_side}),
    Mistake("spatial_gate_sees_ungated_features", "The spatial gate sees features before the channel gate.",
        ("defects CH-11",), "always", "value", {"gated": _gate_of_the_input}),
    Mistake("channel_gate_missing", "The channel gate is forgotten.",
        ("defects CH-11",), "always", "value", {"gated": lambda self, f: self.spatial(f)}),
    Mistake("spatial_gate_missing", "The spatial gate is forgotten.",
        ("defects CH-11",), "always", "value", {"gated": lambda self, f: self.channel(f)}),
    Mistake("gated_features_added_to_themselves", "The features are added inside the gates as well.",
        ("xmu-xiaoma666/External-Attention-pytorch CBAM",), "always", "value",
        {"gated": lambda self, f: self.spatial(self.channel(f)) + f}),
    Mistake("sigmoid_overflows", "eˣ / (1 + eˣ) is no number for large logits; take the sigmoid of the library.",
        ("pytorch/executorch#18407",), "always", "value", {"gated": _overflowing}),
    Mistake("skip_missing", "The skip is forgotten.", ("defects CH-11",), "always", "law",
        {"added": lambda self, gated, skip: gated + 0 * skip}),
    Mistake("last_rectifier_missing", "No relu stands after the sum.",
        ("errata CB-6",), "always", "law", {"ended": lambda self, total: total}),
    Mistake("first_rectifier_missing", "No relu stands after the norm.",
        ("errata CB-6",), "always", "value", {"features": lambda self, x: self.norm(self.conv(x))}),
    Mistake("norm_after_the_rectifier", "The norm stands after the relu; it stands before.",
        ("errata CB-6",), "always", "value", {"features": lambda self, x: self.norm(self.conv(x).relu())}),
    Mistake("norm_missing", "The norm after the convolution is forgotten.",
        ("errata CB-6",), "always", "law", {"features": lambda self, x: self.conv(x).relu()}),
    Mistake("lone_samples_as_in_evaluation", "A batch of one is normed as in evaluation; its pixels are a batch too.",
        ("errata CB-6",), "batch == 1", "gradient", {"features": _lone_samples_as_in_evaluation}),
    Mistake("statistics_kept", "Batch norm keeps the statistics that it began with; training moves them.",
        ("errata CB-6",), "batch > 1", "mode", {"features": _without_statistics}),
    Mistake("skip_rectified", "The skip goes through a relu of its own before the sum.",
        ("errata CB-6",), "always", "value", {"skipped": lambda self, x: self.skip(x).relu()}),
    Mistake("batch_and_channels_exchanged_when_equal", "Where batch equals channels, the two are exchanged, and samples mix.",
        ("errata CB-2",), "batch == out_channels and batch > 1", "law", {"features": _batch_exchanged}),
    Mistake("sum_in_place_of_the_input", "The sum is written into the skip, which may be the caller's input.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "skip == 'projection' and channels == out_channels and stride == 1",
        "hygiene", {"added": lambda self, gated, skip: skip.add_(gated)}),
    Mistake("skip_detached", "No gradient flows through the skip.",
        ("facebookresearch/xformers#636",), "always", "gradient",
        {"skipped": lambda self, x: self.skip(x).detach()}),
))  # fmt: skip
