"""Known mistakes of selective kernels."""

from typing import Any

import torch
from torch import Tensor

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.selective_kernel import SelectiveKernel


class PlainSelectiveKernel(SelectiveKernel):
    """Branches, gate and sum, one step a method; branches stand along the second axis."""

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Any:
        features = torch.stack(
            [self.bent(norm(conv(x))) for conv, norm in zip(self.conv, self.norm, strict=True)], 1
        )
        z = self.squeezed(self.pooled(self.fused(features)))
        weights = self.weighed(torch.stack([excite(z) for excite in self.excites()], 1))
        out = self.summed(weights, features)
        return (out, weights) if need_weights else out

    def bent(self, features: Tensor) -> Tensor:
        return features.relu()

    def fused(self, features: Tensor) -> Tensor:
        return features.sum(1)

    def pooled(self, fused: Tensor) -> Tensor:
        return fused.mean((-2, -1))

    def squeezed(self, pooled: Tensor) -> Tensor:
        z: Tensor = self.squeeze(pooled)
        return z if self.squeeze_norm is None else self.squeeze_norm(z).relu()

    def excites(self) -> list[Any]:
        return list(self.excite)

    def weighed(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def summed(self, weights: Tensor, features: Tensor) -> Tensor:
        return (weights[..., None, None] * features).sum(1)


def _in_place(self: Any, features: Tensor) -> Tensor:
    bent = features.relu()
    bent.mul_(bent)
    return bent.sqrt()


def _unbent(self: Any, pooled: Tensor) -> Tensor:
    z: Tensor = self.squeeze(pooled)
    return z if self.squeeze_norm is None else self.squeeze_norm(z)


def _unnormed(self: Any, pooled: Tensor) -> Tensor:
    z: Tensor = self.squeeze(pooled)
    return z if self.squeeze_norm is None else z.relu()


DEFECTS: tuple[Defect, ...] = made_in("selective_kernel", (
    Mistake("softmax_over_channels", "The softmax runs over channels; it is to run over branches.",
        ("xmu-xiaoma666/External-Attention-pytorch#18",), "branches > 1 or channels > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(2)}),
    Mistake("softmax_over_batch", "The softmax runs over samples; it is to run over branches.",
        ("xmu-xiaoma666/External-Attention-pytorch#18",), "batch > 1 or branches > 1", "law",
        {"weighed": lambda self, logits: logits.softmax(0)}),
    Mistake("softmax_overflows", "exp is taken of the logits as they are and overflows; subtract the largest first.",
        ("pytorch/executorch#18407",), "always", "value",
        {"weighed": lambda self, logits: logits.exp() / logits.exp().sum(1, keepdim=True)}),
    Mistake("sigmoid_gate", "Every branch has a sigmoid; branches share a softmax.",
        ("defects SM-11",), "always", "law", {"weighed": lambda self, logits: logits.sigmoid()}),
    Mistake("branches_summed_without_weights", "The branches are added up and the gate has no say.",
        ("defects SM-11",), "always", "law",
        {"summed": lambda self, weights, f: f.sum(1) + 0 * weights.sum()}),
    Mistake("branches_averaged", "Every branch counts alike and the gate has no say.",
        ("defects SM-11",), "branches > 1", "value",
        {"summed": lambda self, weights, f: f.mean(1) + 0 * weights.sum()}),
    Mistake("one_excite_for_all_branches", "All branches share the logits of the first; each has its own.",
        ("errata SK-4",), "branches > 1", "value",
        {"excites": lambda self: [self.excite[0]] * self.branches}),
    Mistake("branches_reversed", "The weights of the first branch multiply the last.",
        ("defects SM-11",), "branches > 1", "value",
        {"summed": lambda self, weights, f: (weights.flip(1)[..., None, None] * f).sum(1)}),
    Mistake("gate_sees_the_mean_of_branches", "The gate sees the mean of the branches; it is to see their sum.",
        ("defects CH-4",), "branches > 1", "value", {"fused": lambda self, features: features.mean(1)}),
    Mistake("gate_sees_the_first_branch", "The gate sees the first branch only; it is to see the sum of all.",
        ("errata SK-4",), "branches > 1", "value", {"fused": lambda self, features: features[:, 0]}),
    Mistake("gate_sees_maxima", "The gate sees maxima over the map; it is to see means.",
        ("defects CH-4",), "height * width > 1", "value",
        {"pooled": lambda self, fused: fused.amax((-2, -1))}),
    Mistake("rectifier_missing_in_the_gate", "No relu stands between the layers of the gate.",
        ("errata SK-5",), "gate == 'normalised'", "value", {"squeezed": _unbent}),
    Mistake("norm_missing_in_the_gate", "No batch norm stands between the layers of the gate.",
        ("errata SK-5",), "gate == 'normalised'", "value", {"squeezed": _unnormed}),
    Mistake("rectifier_missing_in_the_branches", "The branches do not end in a relu.",
        ("errata SK-6",), "always", "law", {"bent": lambda self, features: features}),
    Mistake("backward_fails", "A result of relu is changed in place, so the backward pass raises.",
        ("pppLang/SKNet#23", "errata SK-2"), "always", "gradient", {"bent": _in_place}),
    Mistake("gate_detached", "No gradient flows through the gate, so its layers are never learned.",
        ("facebookresearch/xformers#636",), "branches > 1", "gradient",
        {"weighed": lambda self, logits: logits.detach().softmax(1)}),
))  # fmt: skip
