"""Nadaraya–Watson's estimate with a learned width, as explicit sums, right and with one mistake at a time."""

import torch
from torch import Tensor, nn


class NWKernelRegression(nn.Module):
    mistake = ""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        rows = queries.unsqueeze(-1).expand(len(queries), keys.shape[-1])
        if keys.shape[-1] == 0:
            return torch.zeros_like(queries)
        exponent = self.exponent(rows + keys if self.mistake == "distances_added" else rows - keys)
        match self.mistake:
            case "boxcar_kernel":
                exponent = torch.zeros_like(exponent)
            case "softmax_over_queries":
                return (torch.softmax(exponent, dim=0) * values).sum(-1)
            case "keys_averaged":
                values = keys
        kernel = torch.exp(exponent - exponent.detach().max(dim=1, keepdim=True).values)
        if self.mistake == "weights_not_normalised":
            return (torch.exp(exponent) * values).sum(-1)
        total = kernel.sum(-1)
        if self.mistake == "values_summed":
            total = kernel.mean(-1)
        return (kernel * values).sum(-1) / total

    def exponent(self, distance: Tensor) -> Tensor:
        match self.mistake:
            case "width_multiplied":
                return -((distance / self.w) ** 2) / 2
            case "width_ignored":
                return -(distance**2) / 2
            case "width_not_squared":
                return -(distance**2) * self.w / 2
            case "half_missing":
                return -((distance * self.w) ** 2)
            case "sign_missing":
                return ((distance * self.w) ** 2) / 2
            case "absolute_distance":
                return -torch.abs(distance * self.w)
            case "width_without_gradient":
                return -((distance * self.w.detach()) ** 2) / 2
        return -((distance * self.w) ** 2) / 2


def made(mistake: str = "") -> type[NWKernelRegression]:
    """The module with a mistake, without one unless it is named."""
    return type("NWKernelRegression", (NWKernelRegression,), {"mistake": mistake})


MISTAKES = (
    "width_multiplied", "width_ignored", "width_not_squared", "half_missing", "sign_missing",
    "absolute_distance", "boxcar_kernel", "weights_not_normalised", "softmax_over_queries",
    "keys_averaged", "distances_added", "values_summed", "width_without_gradient",
)  # fmt: skip
