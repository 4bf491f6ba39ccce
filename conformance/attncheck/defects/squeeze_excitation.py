"""Known mistakes of squeeze-and-excitation."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import relu6, silu

from attncheck.defects.defect import Defect, Mistake, made_in
from attnref.mechanisms.squeeze_excitation import SqueezeExcitation


class Gate:
    """Pooled maps through two layers, one step a method."""

    squeeze: Any
    excite: Any

    def squeezed(self, pooled: Tensor) -> Tensor:
        return self.squeeze(pooled)  # type: ignore[no-any-return]  # a module returns a tensor here

    def bent(self, hidden: Tensor) -> Tensor:
        # Only squeeze-and-excitation lets one choose.
        chosen = getattr(self, "activation", "relu")
        return silu(hidden) if chosen == "silu" else hidden.relu()

    def excited(self, hidden: Tensor) -> Tensor:
        return self.excite(hidden)  # type: ignore[no-any-return]  # a module returns a tensor here

    def mean(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))

    def opened(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def applied(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate[..., None, None]


class PlainSqueezeExcitation(Gate, SqueezeExcitation):
    """The gate on the means."""

    def forward(self, x: Tensor) -> Any:
        return self.applied(x, self.opened(self.excited(self.bent(self.squeezed(self.mean(x))))))


def _by_address(self: Any, logits: Tensor) -> Tensor:
    kept: dict[object, Tensor] = self.__dict__.setdefault("kept", {})
    return kept.setdefault(logits.shape, logits.detach().sigmoid())


def _until_trained(self: Any, logits: Tensor) -> Tensor:
    kept: dict[object, Tensor] = self.__dict__.setdefault("kept", {})
    if not self.training and logits.shape in kept:
        return kept[logits.shape]
    gate = logits.sigmoid()
    if not self.training:
        kept[logits.shape] = gate.detach()
    return gate


def _learned_in_training(self: Any, logits: Tensor) -> Tensor:
    if self.training:
        self.__dict__["seen"] = logits.detach().mean(0)
        return logits.sigmoid()
    return self.__dict__.get("seen", logits).expand(logits.shape).sigmoid()  # type: ignore[no-any-return]  # a tensor


def _forgetting(self: Any, mode: bool = True) -> Any:
    self.__dict__["kept"] = {}
    nn.Module.train(self, mode)
    return self


def overflowing_sigmoid(logits: Tensor) -> Tensor:
    """A sigmoid that is no number where its logits are large."""
    return logits.exp() / (1 + logits.exp())


def _in_place(self: Any, x: Tensor, gate: Tensor) -> Tensor:
    return x.mul_(gate[..., None, None])


GATES: tuple[Mistake, ...] = (
    Mistake("sum_before_dividing", "The sum over a map overflows float16; take the mean, which does not.",
        ("defects NU-1",), "height * width > 65504", "value",
        {"mean": lambda self, x: x.flatten(2).sum(-1) / (x.shape[-2] * x.shape[-1])}, needs="--strict"),
    Mistake("mean_over_batch", "The mean is taken over samples as well; each sample has its own.",
        ("defects CH-4",), "batch > 1", "law",
        {"mean": lambda self, x: x.mean((0, -2, -1), keepdim=True)[..., 0, 0].expand(x.shape[:2])}),
    Mistake("mean_over_rows_only", "The mean of the first column stands for the map; take it over height and width.",
        ("xiaolai-sqlai/mobilenetv3#12",), "width > 1", "law", {"mean": lambda self, x: x.mean(-2)[..., 0]}),
    Mistake("sum_instead_of_mean", "The sum over pixels grows with the map; take the mean.",
        ("defects CH-4",), "height * width > 1", "law", {"mean": lambda self, x: x.sum((-2, -1))}),
    Mistake("rectifier_missing", "The two layers are one linear map without the relu between them.",
        ("errata SK-5",), "always", "value", {"bent": lambda self, hidden: hidden}),
    Mistake("rectifier_bounded", "Hidden units are cut off at 6, as in networks for phones; the relu has no upper bound.",
        ("defects CH-8",), "always", "value", {"bent": lambda self, hidden: relu6(hidden)}),
    Mistake("sigmoid_in_the_middle", "A sigmoid stands where the relu belongs.",
        ("defects CH-8",), "always", "value", {"bent": lambda self, hidden: hidden.sigmoid()}),
    Mistake("sigmoid_missing", "The logits are the gate; take their sigmoid.",
        ("Peachypie98/CBAM#2",), "always", "law", {"opened": lambda self, logits: logits}),
    Mistake("softmax_gate", "A softmax makes channels compete; each has a sigmoid of its own.",
        ("FudanNLP/fastNLP#254",), "always", "value", {"opened": lambda self, logits: logits.softmax(-1)}),
    Mistake("hard_sigmoid", "A piecewise linear gate stands where the sigmoid belongs.",
        ("defects CH-8",), "always", "value", {"opened": lambda self, logits: (logits / 6 + 0.5).clamp(0, 1)}),
    Mistake("gate_is_the_result", "The gate comes back instead of the gated input.",
        ("defects CH-11",), "always", "law",
        {"applied": lambda self, x, gate: gate[..., None, None].expand(x.shape).clone()}),
    Mistake("input_added", "The input is added to the gated one; the gate alone scales it.",
        ("xmu-xiaoma666/External-Attention-pytorch CBAM",), "always", "value",
        {"applied": lambda self, x, gate: x * gate[..., None, None] + x}),
    Mistake("gate_complemented", "The input is scaled by one minus the gate.",
        ("defects CH-8",), "always", "value", {"opened": lambda self, logits: (-logits).sigmoid()}),
    Mistake("input_overwritten", "The caller's input is overwritten; write to a new tensor.",
        ("xmu-xiaoma666/External-Attention-pytorch PSA",), "always", "hygiene", {"applied": _in_place}),
    Mistake("gate_kept_by_shape", "The gate of the first call of a shape serves all later ones.",
        ("ml-explore/mlx#3071",), "always", "hygiene", {"opened": _by_address}),
    Mistake("gate_kept_until_trained", "In eval mode the gate of a shape's first call serves all later ones.",
        ("ml-explore/mlx#3071",), "always", "hygiene", {"opened": _until_trained, "train": _forgetting}),
    Mistake("gate_learned_in_training", "Eval mode takes the mean gate of the last training call; each sample has its own.",
        ("defects NU-14",), "batch > 1", "mode", {"opened": _learned_in_training}),
    Mistake("gate_detached", "No gradient flows through the gate, so its layers are never learned.",
        ("facebookresearch/xformers#636",), "always", "gradient", {"opened": lambda self, logits: logits.detach().sigmoid()}),
    Mistake("sigmoid_overflows", "eˣ / (1 + eˣ) is no number for large logits; take the sigmoid of the library.",
        ("pytorch/executorch#18407",), "always", "value", {"opened": lambda self, logits: overflowing_sigmoid(logits)}),
    Mistake("gate_in_float32", "The gate is computed in float32, which costs float64 half its digits.",
        ("huggingface/transformers#48459",), "always", "value",
        {"opened": lambda self, logits: logits.float().sigmoid().to(logits.dtype)}),
)  # fmt: skip

OWN: tuple[Mistake, ...] = (
    Mistake("maximum_instead_of_mean", "The gate sees the maxima of channels; it is to see their means.",
        ("defects CH-4",), "height * width > 1", "law", {"mean": lambda self, x: x.amax((-2, -1))}),
    Mistake("gate_for_every_pixel", "Pooling is defined and never called, so every pixel has a gate of its own.",
        ("xiaolai-sqlai/mobilenetv3#12",), "height * width > 1", "law",
        {"mean": lambda self, x: x.permute(0, 2, 3, 1),
         "applied": lambda self, x, gate: x * gate.permute(0, 3, 1, 2)}),
    Mistake("gate_always_one_half", "A squeeze to no channel makes the gate 1/2 for every input.",
        ("errata SE-2", "xmu-xiaoma666/External-Attention-pytorch SEAttention"), "always", "law",
        {"squeezed": lambda self, pooled: 0 * self.squeeze(pooled), "excited": lambda self, hidden: 0 * self.excite(hidden)}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("squeeze_excitation", (*GATES, *OWN))
