"""Known mistakes of channel self-attention."""

from typing import Any

from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.pixels import GAMMA
from attnref.mechanisms.channel_self import ChannelSelf


class PlainChannelSelf(ChannelSelf):
    """Energies of channels, softmax and sum, one step a method."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        q, k, v = (self.flat(layer(x)) for layer in (self.query, self.key, self.value))
        weights = self.weighed(self.energies(self.scored(q, k)))
        out = self.added(
            self.averaged(weights, v).reshape(x.shape[0], -1, *x.shape[2:]) if x.numel() else self.value(x),
            self.skip(x),
        )
        return (out, weights) if need_weights else out

    def flat(self, x: Tensor) -> Tensor:
        return x.flatten(2)

    def scored(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT

    def energies(self, logits: Tensor) -> Tensor:
        return logits if self.energy == "product" else logits.amax(-1, keepdim=True) - logits

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)

    def averaged(self, weights: Tensor, v: Tensor) -> Tensor:
        return weights @ v

    def added(self, read: Tensor, skip: Tensor) -> Tensor:
        return self.gamma * read + skip


def _swapped(self: Any, logits: Tensor) -> Tensor:
    return logits if self.energy != "product" else logits.amax(-1, keepdim=True) - logits


def _spared(self: Any, read: Tensor, skip: Tensor) -> Tensor:
    return skip if not bool(self.gamma) else self.gamma * read + skip


OWN: tuple[Mistake, ...] = (
    Mistake("attention_spared_while_gamma_is_zero",
        "Where gamma is zero the input is returned at once, so gamma, zero at birth, never learns; multiply by it.",
        ("speedinghzl/CCNet#5",), "always", "gradient", {"added": _spared}),
    Mistake("softmax_overflows", "exp is taken of the energies as they are and overflows; subtract the largest first.",
        ("pytorch/executorch#18407",), "always", "value",
        {"weighed": lambda self, logits: logits.exp() / logits.exp().sum(-1, keepdim=True)}),
    Mistake("energies_reversed", "max(E) - E is taken where E was asked for, and the other way round.",
        ("junfu1115/DANet#9", "dmlc/gluon-cv#1444"), "out_channels > 1", "value", {"energies": _swapped}),
    Mistake("energy_argument_ignored", "max(E) - E is never taken.",
        ("junfu1115/DANet#48",), "energy == 'max_minus_product' and out_channels > 1", "value",
        {"energies": lambda self, logits: logits}),
    Mistake("maximum_of_all_energies_missing", "-E is taken without the maximum, which float16 may not hold.",
        ("junfu1115/DANet#62",), "energy == 'product' and out_channels > 1", "value",
        {"energies": lambda self, logits: -logits}),
    Mistake("energies_averaged_over_pixels", "The energies are divided by the number of pixels; they are a sum.",
        ("errata SC-3",), "height * width > 1", "value",
        {"scored": lambda self, q, k: q @ k.mT / max(q.shape[-1], 1)}),
    Mistake("energies_scaled", "The energies are divided by √(height · width); they are not scaled.",
        ("errata SC-3",), "height * width > 1", "value",
        {"scored": lambda self, q, k: q @ k.mT * max(q.shape[-1], 1) ** -0.5}),
    Mistake("softmax_over_rows", "The softmax runs over the channels that look; it is to run over those looked at.",
        ("brain-research/self-attention-gan#17",), "out_channels > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(-2)}),
    Mistake("softmax_over_batch", "The softmax runs over samples; it is to run over channels.",
        ("xmu-xiaoma666/External-Attention-pytorch A2Attention",), "batch > 1 or out_channels > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(0)}),
    Mistake("softmax_missing", "The energies themselves are the weights.",
        ("errata SF-2",), "always", "value", {"weighed": lambda self, logits: logits}),
    Mistake("weights_transposed", "The channels are averaged with the transposed weights.",
        ("junfu1115/DANet#64",), "out_channels > 1", "value", {"averaged": lambda self, w, v: w.mT @ v}),
    Mistake("queries_read_as_values", "The projection of the queries is averaged; average the values.",
        ("facebookresearch/Motionformer#6",), "projected", "value",
        {"forward": lambda self, x, *, need_weights=False: _with_values_of_queries(self, x, need_weights)}),
    Mistake("input_viewed", "The input is flattened by `view`, which raises for some strides; use `reshape`.",
        ("xmu-xiaoma666/External-Attention-pytorch#22",), "height > 1 and width > 1 and not projected", "hygiene",
        {"flat": lambda self, x: x.view(*x.shape[:2], -1)}, needs="--strict"),
    Mistake("weights_detached", "No gradient flows through the weights.",
        ("facebookresearch/xformers#636",), "out_channels > 1", "gradient",
        {"weighed": lambda self, logits: logits.softmax(-1).detach()}),
    Mistake("softmax_in_float32", "The softmax is computed in float32, which costs float64 half its digits.",
        ("huggingface/transformers#48459",), "out_channels > 1", "value",
        {"weighed": lambda self, logits: logits.float().softmax(-1).to(logits.dtype)}, needs="--strict"),
)  # fmt: skip


def _with_values_of_queries(self: Any, x: Tensor, need_weights: bool) -> Any:
    kept, self.__dict__["_modules"]["value"] = self.value, self.query
    result = PlainChannelSelf.forward(self, x, need_weights=need_weights)
    self.__dict__["_modules"]["value"] = kept
    return result


DEFECTS: tuple[Defect, ...] = made_in("channel_self", (*OWN, *GAMMA))
