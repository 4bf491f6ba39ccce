"""SKNet's unit with its branches in a ModuleList and a loop over them, with its mistakes."""

import torch
from torch import Tensor, nn


class SKConv(nn.Module):
    mistake = ""

    def __init__(self, features: int, M: int = 2, G: int = 1, r: int = 4, L: int = 4) -> None:
        super().__init__()
        d = max(features // r, L)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, features, 3, padding=1 + i, dilation=1 + i, groups=G, bias=False),
                nn.BatchNorm2d(features),
                nn.Identity() if self.mistake == "rectifier_missing_in_the_branches" else nn.ReLU(),
            )
            for i in range(M)
        )
        self.fc = nn.Linear(features, d, bias=False)
        self.bn = nn.BatchNorm1d(d)
        self.fcs = nn.ModuleList(nn.Linear(d, features, bias=False) for _ in range(M))

    def forward(self, x: Tensor) -> Tensor:
        maps = [conv(x) for conv in self.convs]
        weights = self.weights(self.squeezed(self.fused(maps)))
        out = torch.zeros_like(maps[0])
        for weight, features in zip(weights, maps, strict=True):
            match self.mistake:
                case "branches_summed_without_weights":
                    out = out + features
                case "branches_averaged":
                    out = out + features / len(maps)
                case "gate_detached":
                    out = out + weight.detach()[:, :, None, None] * features
                case _:
                    out = out + weight[:, :, None, None] * features
        return out

    def fused(self, maps: list[Tensor]) -> Tensor:
        total = sum(maps[1:], maps[0])
        match self.mistake:
            case "gate_sees_the_mean_of_branches":
                total = total / len(maps)
            case "gate_sees_the_first_branch":
                total = maps[0]
            case "gate_sees_maxima":
                return total.flatten(2).amax(2)
        return total.flatten(2).mean(2)

    def squeezed(self, fused: Tensor) -> Tensor:
        match self.mistake:
            case "rectifier_missing_in_the_gate":
                return self.bn(self.fc(fused))
            case "norm_missing_in_the_gate":
                return self.fc(fused).relu()
        return self.bn(self.fc(fused)).relu()

    def weights(self, z: Tensor) -> list[Tensor]:
        if self.mistake == "one_excite_for_all_branches":
            logits = torch.stack([self.fcs[0](z) for _ in self.fcs])
        else:
            logits = torch.stack([fc(z) for fc in self.fcs])
        match self.mistake:
            case "sigmoid_gate":
                return list(logits.sigmoid())
            case "softmax_over_channels":
                return list(logits.softmax(2))
            case "softmax_over_batch":
                return list(logits.softmax(1))
        return list(logits.softmax(0))


def made(mistake: str = "") -> type[SKConv]:
    """The unit with a mistake, without one unless it is named."""
    return type("SKConv", (SKConv,), {"mistake": mistake})


MISTAKES = (
    "softmax_over_channels", "softmax_over_batch", "sigmoid_gate", "branches_summed_without_weights",
    "branches_averaged", "one_excite_for_all_branches", "gate_sees_the_mean_of_branches",
    "gate_sees_the_first_branch", "gate_sees_maxima", "rectifier_missing_in_the_gate",
    "norm_missing_in_the_gate", "rectifier_missing_in_the_branches", "gate_detached",
)  # fmt: skip
