"""A checked function refuses what its annotation excludes, says why in axes, and lets tracers pass."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnref import ShapeError
from attnref._checked import checked, explain


@checked
def pair(
    q: Float[Tensor, "batch q_len head_dim"],
    k: Float[Tensor, "batch kv_len head_dim"],
    mask: Bool[Tensor, "#batch #q_len #kv_len"] | None = None,
    lens: Int[Tensor, "batch q_len"] | Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch q_len kv_len"]:
    """Products of queries and keys."""
    return q @ k.mT


class Layer:
    """Something with a size of its own."""

    def __init__(self, model_dim: int) -> None:
        self.model_dim = model_dim

    @checked
    def forward(self, x: Float[Tensor, "batch {self.model_dim}"]) -> Float[Tensor, "batch {self.model_dim}"]:
        """The input."""
        return x


@given(batch=st.integers(0, 4), q_len=st.integers(0, 4), kv_len=st.integers(0, 4), head_dim=st.integers(0, 4))
def test_every_legal_call_passes(device, batch, q_len, kv_len, head_dim):
    q, k = (
        torch.ones(batch, q_len, head_dim, device=device),
        torch.ones(batch, kv_len, head_dim, device=device),
    )

    for mask in (None, (1, 1, 1), (batch, q_len, kv_len), (batch, 1, kv_len)):
        ones = None if mask is None else torch.ones(mask, dtype=torch.bool, device=device)
        assert pair(q, k, ones).shape == (batch, q_len, kv_len)


@given(sizes=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_a_call_passes_exactly_if_shared_axes_agree(device, sizes):
    q, k = torch.ones(sizes[:3], device=device), torch.ones(sizes[3:], device=device)
    legal = sizes[0] == sizes[3] and sizes[2] == sizes[5]

    if legal:
        pair(q, k)
    else:
        with pytest.raises(ShapeError):
            pair(q, k)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.ones(3, 7, 5)}, "k has batch=3, but q has 2"),
        ({"k": torch.ones(7, 5)}, "k must be (batch, kv_len, head_dim), got rank 2: (7, 5)"),
        ({"k": torch.ones(2, 7, 5, dtype=torch.long)}, "k must hold float values, got torch.int64"),
        ({"k": None}, "k is missing, expected (batch, kv_len, head_dim)"),
        ({"k": [1.0]}, "k must be a tensor (batch, kv_len, head_dim), got list"),
        ({"mask": torch.ones(2, 7, 7, dtype=torch.bool)}, "mask has q_len=7, but q has 3"),
        ({"mask": torch.ones(2, 3, 7)}, "mask must hold bool values, got torch.float32"),
        ({"lens": torch.ones(3, dtype=torch.long)}, "lens has batch=3, but q has 2"),
        (
            {"lens": torch.ones(2, 3, 7, dtype=torch.long)},
            "lens must be (batch, q_len) or (batch), got rank 3: (2, 3, 7)",
        ),
    ],
)
def test_a_wrong_call_is_explained_in_axes(change, message):
    with pytest.raises(ShapeError) as error:
        pair(**{"q": torch.ones(2, 3, 5), "k": torch.ones(2, 7, 5), **change})

    assert str(error.value) == f"pair: {message}"


def test_a_method_is_named_by_its_class_and_its_size_by_the_attribute():
    with pytest.raises(ShapeError) as error:
        Layer(5).forward(torch.ones(2, 3))

    assert str(error.value) == "Layer: x has model_dim=3, but model_dim is 5"


def test_a_call_that_fits_has_no_explanation():
    assert explain(pair, (torch.ones(2, 3, 5), torch.ones(2, 7, 5)), {}) is None


def test_a_wrong_result_is_no_shape_error_of_the_caller():
    """A function that breaks its own promise is a defect here, not a wrong call."""

    @checked
    def liar(x: Float[Tensor, "batch tokens"]) -> Float[Tensor, "tokens batch"]:
        return x

    with pytest.raises(Exception, match="return") as error:
        liar(torch.ones(2, 3))
    assert not isinstance(error.value, ShapeError)


def test_a_shape_error_is_a_type_error_and_a_value_error():
    assert issubclass(ShapeError, TypeError)
    assert issubclass(ShapeError, ValueError)


def test_nothing_is_checked_while_torch_compiles(monkeypatch):
    """Tracing jaxtyped code raises errors that are not there."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)

    assert pair(torch.ones(2, 3, 5), torch.ones(1, 7, 5)).shape == (2, 3, 7)


def test_name_and_docstring_survive():
    assert (pair.__name__, pair.__doc__) == ("pair", "Products of queries and keys.")
