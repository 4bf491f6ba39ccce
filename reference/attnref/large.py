"""Blocks over maps whose scores fit in no memory: what they give at some positions, and at no others."""

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import max_pool2d

from attnref._checked import checked
from attnref.mechanisms._pointwise import pointwise
from attnref.mechanisms.criss_cross import CrissCross
from attnref.mechanisms.non_local import NonLocal, pooled
from attnref.mechanisms.spatial_self import SpatialSelf

Map = (
    Float[Tensor, "batch channels length"]
    | Float[Tensor, "batch channels height width"]
    | Float[Tensor, "batch channels time height width"]
)


@checked
def sampled_pixels(
    block: NonLocal | SpatialSelf | CrissCross, x: Map, positions: Int[Tensor, "rows"]
) -> Float[Tensor, "batch channels rows"]:
    """What a block gives at some positions of x, counted row by row.

    A norm of the block must be in eval mode: in training it needs every position.

    Source: as in the references of the three blocks.
    Raises: ShapeError if axes do not agree; IndexError if x has no such position.
    """
    here = x.flatten(2)[:, :, positions]
    if isinstance(block, NonLocal):
        return _non_local(block, x, here)
    if isinstance(block, SpatialSelf):
        return _spatial_self(block, x, here)
    return _criss_cross(block, x, here, positions)


def _projected(layer: torch.nn.Module | None, x: Tensor) -> Tensor:
    if layer is None:
        return x
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    return pointwise(x, weight.flatten(1), bias)


def _non_local(block: NonLocal, x: Tensor, here: Tensor) -> Tensor:
    source = pooled(x) if block.sub_sample and block.pool_first else x
    q, k, v = _projected(block.query, here), _projected(block.key, source), _projected(block.value, source)
    if block.sub_sample and not block.pool_first:
        k, v = pooled(k), pooled(v)
    logits = einsum(q, k.flatten(2), "b d i, b d j -> b i j")
    if block.pairwise == "embedded_gaussian":
        weights = (logits * q.shape[1] ** -0.5 if block.scaled else logits).softmax(-1)
    else:
        weights = logits / logits.shape[-1]
    projected = _projected(block.output, einsum(weights, v.flatten(2), "b i j, b d j -> b d i"))
    if block.norm is None:
        return here + projected
    # The norm counts the axes of a map; to it the positions are a line.
    line = projected.reshape(*projected.shape, *[1] * (block.rank - 1))
    normed: Tensor = block.norm(line)
    return here + normed.reshape(projected.shape)


def _spatial_self(block: SpatialSelf, x: Tensor, here: Tensor) -> Tensor:
    k, v = (max_pool2d(_projected(layer, x), block.pool).flatten(2) for layer in (block.key, block.value))
    weights = einsum(_projected(block.query, here), k, "b d i, b d j -> b i j").softmax(-1)
    read = einsum(weights, v, "b i j, b c j -> b c i")
    return block.gamma * _projected(block.output, read) + here


def _criss_cross(block: CrissCross, x: Tensor, here: Tensor, positions: Tensor) -> Tensor:
    height, width = x.shape[2:]
    rows, columns = positions // width, positions % width
    q, k, v = _projected(block.query, here), _projected(block.key, x), _projected(block.value, x)
    in_column = einsum(q, k[:, :, :, columns], "b d i, b d j i -> b i j")
    # The pixel itself counts in its row.
    itself = torch.arange(height, device=x.device) == rows[:, None]
    in_row = einsum(q, k[:, :, rows], "b d i, b d i j -> b i j")
    logits = torch.cat([in_column.masked_fill(itself, -torch.inf), in_row], dim=-1)
    weights = logits.softmax(-1)
    read = einsum(weights[..., :height], v[:, :, :, columns], "b i j, b c j i -> b c i")
    read = read + einsum(weights[..., height:], v[:, :, rows], "b i j, b c i j -> b c i")
    return block.gamma * read + here
