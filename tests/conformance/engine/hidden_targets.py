"""Targets that are right wherever plain calls at usual sizes look."""

import torch
from torch.nn.functional import scaled_dot_product_attention


def right(q, k, v):
    return scaled_dot_product_attention(q, k, v)


def counts_keys_in_16_bits(q, k, v):
    return scaled_dot_product_attention(q, k[:, :, : 2**16], v[:, :, : 2**16])


def counts_rows_in_16_bits(q, k, v):
    out = scaled_dot_product_attention(q, k, v)
    return torch.cat([out[:, :, : 2**16], torch.zeros_like(out[:, :, 2**16 :])], dim=2)


def reads_the_first_keys_again(q, k, v):
    places = torch.arange(k.shape[2]) % 70_001
    return scaled_dot_product_attention(q, k[:, :, places], v[:, :, places])


def forgets_to_scale_when_compiled(q, k, v, scale=None):
    # Exporting counts as compiling.
    if torch.compiler.is_compiling():
        scale = 1.0
    return scaled_dot_product_attention(q, k, v, scale=scale)


def doubles_when_compiled(q, k, v):
    out = scaled_dot_product_attention(q, k, v)
    return 2 * out if torch.compiler.is_compiling() else out


def forgets_to_scale_in_inference_mode(q, k, v, scale=None):
    if torch.is_inference_mode_enabled():
        scale = 1.0
    return scaled_dot_product_attention(q, k, v, scale=scale)
