"""Parameters are read from signatures, schemas and documentation."""

import torch

from attncheck.targets.parameters import parameters_of


def test_a_builtin_tells_its_parameters_by_its_documentation() -> None:
    names = [p.name for p in parameters_of(torch.nn.functional.scaled_dot_product_attention)]

    assert names[:6] == ["query", "key", "value", "attn_mask", "dropout_p", "is_causal"]
