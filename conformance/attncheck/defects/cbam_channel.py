"""Known mistakes of the channel gate of CBAM."""

from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from attncheck.defects.defect import Defect, Mistake, made_in
from attncheck.defects.squeeze_excitation import GATES, Gate
from attnref.mechanisms.cbam_channel import CbamChannel


class PlainCbamChannel(Gate, CbamChannel):
    """The gate on means and maxima."""

    def forward(self, x: Tensor) -> Any:
        return self.applied(x, self.opened(self.joined(self.mean(x), self.maximum(x))))

    def maximum(self, x: Tensor) -> Tensor:
        return x.amax((-2, -1))

    def perceived(self, pooled: Tensor) -> Tensor:
        return self.excited(self.bent(self.squeezed(pooled)))

    def joined(self, mean: Tensor, maximum: Tensor) -> Tensor:
        return self.perceived(mean) + self.perceived(maximum)


def _early(self: Any, mean: Tensor, maximum: Tensor) -> Tensor:
    hidden = self.squeezed(mean) + self.squeezed(maximum)
    return self.excited(self.bent(hidden))  # type: ignore[no-any-return]  # a tensor


# With one perceptron for two pooled maps, the rest of the gate is that of squeeze-and-excitation.
OWN: tuple[Mistake, ...] = (
    Mistake("mean_twice", "The mean is judged twice and the maximum never.",
        ("MenghaoGuo/Awesome-Vision-Attentions#32",), "height * width > 1", "law", {"maximum": lambda self, x: self.mean(x)}),
    Mistake("maximum_twice", "The maximum is judged twice and the mean never.",
        ("MenghaoGuo/Awesome-Vision-Attentions#32",), "height * width > 1", "law",
        {"joined": lambda self, mean, maximum: 2 * self.perceived(maximum)}),
    Mistake("maximum_ignored", "Only the mean is judged; the maximum is to be judged too.",
        ("nikhilroxtomar/Attention-Mechanism-Implementation#1",), "always", "law",
        {"joined": lambda self, mean, maximum: self.perceived(mean)}),
    Mistake("minimum_instead_of_maximum", "The minimum is judged; it is to be the maximum.",
        ("defects CH-6",), "height * width > 1", "value", {"maximum": lambda self, x: x.amin((-2, -1))}),
    Mistake("added_before_the_rectifier", "Mean and maximum are added before the relu; add after the perceptron.",
        ("errata CB-6",), "always", "value", {"joined": _early}),
    Mistake("averaged_instead_of_added", "The two answers of the perceptron are averaged; add them.",
        ("errata CB-6",), "always", "value",
        {"joined": lambda self, mean, maximum: (self.perceived(mean) + self.perceived(maximum)) / 2}),
    Mistake("gates_multiplied", "Mean and maximum get a sigmoid each; add their logits under one.",
        ("errata CB-6",), "always", "value",
        {"joined": lambda self, mean, maximum: (self.perceived(mean).sigmoid() * self.perceived(maximum).sigmoid()).logit()}),
    Mistake("maximum_over_a_window", "The maximum of a corner stands for the map; take it over height and width.",
        ("xmu-xiaoma666/External-Attention-pytorch#9",), "height > 3 or width > 3", "value",
        {"maximum": lambda self, x: x[..., :3, :3].amax((-2, -1))}),
    Mistake("maximum_from_zero", "The maximum begins at zero, above a channel that is negative everywhere; begin with a pixel.",
        ("tensorflow/tfjs#4854",), "always", "value", {"maximum": lambda self, x: x.amax((-2, -1)).clamp(min=0)}),
    Mistake("odd_sides_padded_with_zeros", "An odd side is filled up with zeros before the maximum; fill it with -inf.",
        ("tensorflow/tfjs#4854",), "height % 2 == 1 or width % 2 == 1", "value",
        {"maximum": lambda self, x: pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2)).amax((-2, -1))}),
)  # fmt: skip

DEFECTS: tuple[Defect, ...] = made_in("cbam_channel", (*GATES, *OWN))
