"""Attention in NumPy: right, wrong in two ways, for one sample at a time, and as an object."""

import numpy as np


def softmax(scores, axis=-1):
    exponents = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return exponents / exponents.sum(axis=axis, keepdims=True)


def attention(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v


def attention_without_scale(q, k, v):
    return softmax(q @ np.swapaxes(k, -1, -2)) @ v


def attention_over_queries(q, k, v):
    return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), axis=-2) @ v


def attention_that_writes(q, k, v):
    q /= np.sqrt(q.shape[-1])
    return softmax(q @ np.swapaxes(k, -1, -2)) @ v


def attention_of_one(q, k, v):
    return softmax(q @ k.T / np.sqrt(k.shape[1])) @ v


class MultiHead:
    def __init__(self, d_model, n_heads):
        rng = np.random.default_rng(0)
        self.heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (rng.normal(size=(d_model, d_model)) for _ in range(4))

    def forward(self, x):
        q, k, v = (self.split(x @ w) for w in (self.w_q, self.w_k, self.w_v))
        read = attention(q, k, v).transpose(0, 2, 1, 3)
        return read.reshape(x.shape) @ self.w_o

    def split(self, x):
        batch, tokens, width = x.shape
        return x.reshape(batch, tokens, self.heads, width // self.heads).transpose(0, 2, 1, 3)
