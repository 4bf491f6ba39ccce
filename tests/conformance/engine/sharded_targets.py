"""Attention that computes in several processes: a right one of each kind, and the mistakes made in it."""

import os
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import linear


def _exchange(tensor, to, source, length):
    """Send a tensor to one rank while another's, of its own length, comes in."""
    incoming = tensor.new_empty(*tensor.shape[:2], length, tensor.shape[3])
    operations = [dist.P2POp(dist.isend, tensor.contiguous(), to), dist.P2POp(dist.irecv, incoming, source)]
    for work in dist.batch_isend_irecv(operations):
        work.wait()
    return incoming


class _Rotate(torch.autograd.Function):
    """Hand the keys and values to the next rank; their gradients come back."""

    @staticmethod
    def forward(ctx, tensor, length, reduced):
        rank, world = dist.get_rank(), dist.get_world_size()
        ctx.length, ctx.reduced = tensor.shape[2], reduced
        return _exchange(tensor, (rank + 1) % world, (rank - 1) % world, length)

    @staticmethod
    def backward(ctx, gradient):
        rank, world = dist.get_rank(), dist.get_world_size()
        back = _exchange(gradient, (rank - 1) % world, (rank + 1) % world, ctx.length)
        return back if ctx.reduced else torch.zeros_like(back), None, None


def _lengths(tensor):
    own = torch.tensor([tensor.shape[2]])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    return [int(part) for part in parts]


def _ring(q, k, v, causal, *, rescales=True, offsets=True, reduced=True):
    rank, world = dist.get_rank(), dist.get_world_size()
    lengths, queries = _lengths(k), _lengths(q)
    i = torch.arange(q.shape[2]) + (sum(queries[:rank]) if offsets else 0)
    maximum = q.new_full(q.shape[:3], -torch.inf)
    total, weighted = torch.zeros_like(maximum), q.new_zeros(*q.shape[:3], v.shape[-1])
    both = torch.cat([k, v], dim=-1)
    for step in range(world):
        owner = (rank - step) % world
        keys, values = both.split([k.shape[-1], v.shape[-1]], dim=-1)
        logits = q @ keys.mT * q.shape[-1] ** -0.5
        if causal:
            j = torch.arange(lengths[owner]) + (sum(lengths[:owner]) if offsets else 0)
            logits = logits.masked_fill(j > i[:, None], -torch.inf)
        higher = torch.maximum(maximum, logits.amax(-1)).detach()
        shrunk = (maximum - higher).exp() if rescales else 1.0
        weights = (logits - higher[..., None]).exp()
        total = total * shrunk + weights.sum(-1)
        weighted = weighted * (shrunk[..., None] if rescales else 1.0) + weights @ values
        maximum = higher
        if step < world - 1:
            both = _Rotate.apply(both, lengths[(owner - 1) % world], reduced)
    return weighted / total[..., None]


def ring_attention(q, k, v, causal=False):
    return _ring(q, k, v, causal)


def forgets_to_rescale(q, k, v, causal=False):
    return _ring(q, k, v, causal, rescales=False)


def ignores_its_offset(q, k, v, causal=False):
    return _ring(q, k, v, causal, offsets=False)


def keeps_its_gradient(q, k, v, causal=False):
    return _ring(q, k, v, causal, reduced=False)


def is_wrong_on_rank_1(q, k, v, causal=False):
    out = _ring(q, k, v, causal)
    return out * 1.01 if dist.get_rank() == 1 else out


def takes_even_shards_only(q, k, v, causal=False):
    if len(set(_lengths(q))) > 1:
        raise ValueError("the shards must have one length")
    return _ring(q, k, v, causal)


def dies_on_rank_1(q, k, v):
    if dist.get_rank() == 1:
        os._exit(7)
    return _ring(q, k, v, False)


def raises_on_rank_1(q, k, v):
    if dist.get_rank() == 1:
        raise KeyError("layer 3")
    return _ring(q, k, v, False)


def hangs_on_rank_1(q, k, v):
    if dist.get_rank() == 1:
        time.sleep(600)
    return _ring(q, k, v, False)


class _AllToAll(torch.autograd.Function):
    """Change shards along one axis for shards along another; the gradient goes the other way."""

    @staticmethod
    def forward(ctx, tensor, split, join):
        ctx.split, ctx.join = split, join
        return _all_to_all(tensor, split, join)

    @staticmethod
    def backward(ctx, gradient):
        return _all_to_all(gradient, ctx.join, ctx.split), None, None


def _all_to_all(tensor, split, join):
    world = dist.get_world_size()
    if tensor.shape[split] % world:
        raise ValueError(f"{tensor.shape[split]} cannot be dealt out to {world}")
    parts = [part.contiguous() for part in tensor.chunk(world, dim=split)]
    incoming = [torch.empty_like(part) for part in parts]
    dist.all_to_all(incoming, parts)
    return torch.cat(incoming, dim=join)


def heads_for_lengths(q, k, v, causal=False):
    """Ulysses: every rank gets whole sequences of some heads, and gives back its rows of all heads."""
    if len(set(_lengths(q) + _lengths(k))) > 1:
        raise ValueError("the shards must have one length")
    q, k, v = (_AllToAll.apply(tensor, 1, 2) for tensor in (q, k, v))
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), -torch.inf)
    return _AllToAll.apply(logits.softmax(-1) @ v, 2, 1)


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor, reduced):
        ctx.reduced = reduced
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        if ctx.reduced:
            dist.all_reduce(gradient)
        return gradient, None


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class TensorParallel(nn.Module):
    """Multi-head attention whose ranks have some of the heads each."""

    reduced = True

    def __init__(self, model_dim, heads):
        super().__init__()
        world = dist.get_world_size()
        self.heads, own = heads // world, model_dim // world
        self.query, self.key, self.value = (nn.Linear(model_dim, own) for _ in range(3))
        self.output = nn.Linear(own, model_dim)

    def forward(self, q, k, v):
        q, k, v = (_Copied.apply(tensor, self.reduced) for tensor in (q, k, v))
        layers = ((self.query, q), (self.key, k), (self.value, v))
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer, x in layers)
        out = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.added(linear(out.transpose(1, 2).flatten(2), self.output.weight))

    def added(self, part):
        return _Added.apply(part) + self.output.bias


class ForgetsToAdd(TensorParallel):
    """Every rank keeps what its own heads give."""

    def added(self, part):
        return part + self.output.bias


class AddsItsBiasOnEveryRank(TensorParallel):
    def added(self, part):
        return _Added.apply(part + self.output.bias)


class AddsItsBiasOnRank1Twice(TensorParallel):
    def added(self, part):
        return super().added(part) + (self.output.bias if dist.get_rank() == 1 else 0)


class KeepsItsGradient(TensorParallel):
    reduced = False
