"""Some pixels computed alone are the pixels of the whole."""

import itertools

import pytest
import torch
from torch import nn

from attnref.large import sampled_pixels
from attnref.mechanisms.criss_cross import CrissCross
from attnref.mechanisms.non_local import NonLocal
from attnref.mechanisms.spatial_self import SpatialSelf

MAPS = {1: (9,), 2: (5, 7), 3: (3, 5, 7)}


def agrees(block: nn.Module, rank: int) -> bool:
    block.double().eval()
    for tensor in (*block.parameters(), *block.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    x = torch.randn(2, 4, *MAPS[rank], dtype=torch.float64)
    positions = torch.randperm(x[0, 0].numel())[:6]

    whole, some = block(x).flatten(2)[:, :, positions], sampled_pixels(block, x, positions)

    # The same sums in another order: rounding, a few dozen terms.
    return torch.allclose(some, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "dot_product"])
def test_pixels_of_a_non_local_block_are_those_of_the_whole(rank, pairwise):
    for scaled, sub_sample, pool_first, norm in itertools.product((False, True), repeat=4):
        options = {"scaled": scaled, "sub_sample": sub_sample, "pool_first": pool_first, "norm": norm}

        assert agrees(NonLocal(4, rank=rank, pairwise=pairwise, **options), rank), options


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("v_dim", [4, 5])
def test_pixels_of_spatial_self_attention_are_those_of_the_whole(pool, v_dim):
    assert agrees(SpatialSelf(4, pool=pool, projected=v_dim == 5, v_dim=v_dim), 2)


def test_pixels_of_criss_cross_attention_are_those_of_the_whole():
    assert agrees(CrissCross(4, reduced=3), 2)


def test_a_position_beyond_the_map_raises():
    block, x = SpatialSelf(4).double(), torch.zeros(1, 4, 3, 2, dtype=torch.float64)

    with pytest.raises(IndexError):
        sampled_pixels(block, x, torch.tensor([6]))
