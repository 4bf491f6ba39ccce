"""Weights that are computed anew in each call cannot be set: that is said, and nothing is held against them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from attncheck.model.errors import NoAdapterError
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


class Normed(nn.Module):
    """Spatial self-attention behind spectral norms, old ones or new ones."""

    norm = staticmethod(spectral_norm)

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query, self.key = (self.norm(nn.Conv2d(channels, inner, 1)) for _ in range(2))
        self.value = self.norm(nn.Conv2d(channels, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(q.mT @ k, dim=-1)
        return x + self.gamma * (v @ weights.mT).unflatten(2, x.shape[2:])


class Parametrised(Normed):
    norm = staticmethod(parametrizations.spectral_norm)


@pytest.mark.parametrize("target", [Normed, Parametrised])
def test_what_computes_its_weights_is_named(target: type) -> None:
    with pytest.raises(
        NoAdapterError, match=r"the weights of query, key, value are computed anew .* take the"
    ):
        discover(target, BY_ID["spatial_self"])
