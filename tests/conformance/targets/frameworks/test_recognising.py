"""The framework of a target is seen from its bases and from the modules that its code speaks of."""

import math

import numpy as np
import torch
from torch import nn

from attncheck.targets.frameworks.recognising import crossings, framework_of


def _scaled(q, k):
    return torch.softmax(q @ k.mT / np.sqrt(q.shape[-1]), dim=-1)


def _plain(q, k):
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)


def test_a_torch_function_that_takes_a_root_with_numpy_takes_tensors():
    assert framework_of(_scaled) == ""


def test_a_function_that_names_no_framework_takes_tensors():
    assert framework_of(_plain) == ""


def test_a_module_takes_tensors():
    assert framework_of(nn.MultiheadAttention) == ""
    assert crossings(nn.MultiheadAttention) == [("", 0)]


def test_a_function_of_a_module_that_has_only_numpy_takes_arrays():
    space = {"np": np, "__name__": "only_numpy"}
    exec("def attention(q, k, v):\n    return np.exp(q @ k.T) @ v", space)

    assert framework_of(space["attention"]) == "numpy"


def test_numpy_counts_in_a_function_that_is_called_by_another():
    space = {"np": np, "__name__": "only_numpy"}
    exec("def inner(q):\n    return np.exp(q)\ndef attention(q, k, v):\n    return inner(q @ k.T) @ v", space)

    assert framework_of(space["attention"]) == "numpy"
