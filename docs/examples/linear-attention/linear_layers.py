"""Implementations to judge: two that are right, one that is wrong, and an adapter for what nobody finds."""

import torch


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Right, and linear in the length: keys and values are summed up before any query comes."""
    q, k = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
    return (q @ (k.mT @ v)) / (q @ k.sum(-2).unsqueeze(-1))


def attend_unnormalised(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Wrong: nothing divides by the sum of the weights."""
    q, k = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
    return q @ (k.mT @ v)


def attend_packed(q: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """Right, and called in a way that only its adapter knows: values stand beside their keys, reversed."""
    k, v = packed.flip(-1).split([q.shape[-1], packed.shape[-1] - q.shape[-1]], dim=-1)
    return attend(q, k, v)


class PackedAdapter:
    mechanism = "linear_attention"
    is_module = False

    def build(self):
        return attend_packed

    def call(self, built, q, k, v):
        return built(q, torch.cat([k, v], dim=-1).flip(-1))
