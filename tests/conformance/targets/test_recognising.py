"""A name tells what a target may be; what its code speaks of, and what it takes, tells the rest."""

import functools
import re

import pytest
import torch
from torch import Tensor, nn

from attncheck.targets.recognising import likely_mechanisms
from attncheck.targets.signs import SIGNS
from attnref import MECHANISMS


class OfOne(nn.Module):
    def forward(self, a): ...  # type: ignore[no-untyped-def]  # only names count


class OfTwo(nn.Module):
    def forward(self, a, b): ...  # type: ignore[no-untyped-def]  # only names count


class OfThree(nn.Module):
    def forward(self, a, b, c): ...  # type: ignore[no-untyped-def]  # only names count


# With as many inputs as a mechanism has; those that take several numbers of them take two.
NAMELESS = {
    m: OfOne if s.inputs == (1, 1) else OfThree if s.inputs == (3, 3) else OfTwo for m, s in SIGNS.items()
}


class Attention(nn.Module):
    """Its name could be any mechanism's: only the code says which."""

    def __init__(self, query_size: int, key_size: int, hidden: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(query_size, hidden), nn.Linear(key_size, hidden)
        self.v = nn.Linear(hidden, 1)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        energy = self.v(torch.tanh(self.query(queries).unsqueeze(2) + self.key(keys).unsqueeze(1)))
        return energy.squeeze(-1).softmax(-1) @ values


class ChannelAttention(nn.Module):
    """The name is given to gates and to attention between channels alike."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        energy = flat @ flat.mT
        return self.gamma * (energy.softmax(-1) @ flat).view_as(x) + x


class ChannelGateAttention(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * torch.sigmoid(gate)[..., None, None]


class Callable:
    """No module, so that its call is not called forward."""

    def __init__(self, keep_weights: bool = False) -> None:
        self.keep_weights = keep_weights

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return softly(q, k, v)


def softly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v


def made() -> Attention:
    return Attention(1, 1, 1)


def first(target: object, name: str) -> str:
    return next(iter(likely_mechanisms(target, name)))


@pytest.mark.parametrize("mechanism", [m.id for m in MECHANISMS])
def test_every_mechanism_is_recognised_by_its_own_name(mechanism: str) -> None:
    name = "".join(part.capitalize() for part in mechanism.split("_"))

    assert first(NAMELESS[mechanism], f"my_file.py:{name}") == mechanism


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("SELayer", "squeeze_excitation"), ("SEGate", "squeeze_excitation"), ("CBAM", "cbam_block"),
        ("NonLocalBlock", "non_local"), ("CrissCrossAttention", "criss_cross"), ("SKConv", "selective_kernel"),
        ("SKAttention", "selective_kernel"), ("MultiheadAttention", "multi_head"),
        ("AttentionPool2d", "attention_pool"), ("ModifiedResNet", "modified_resnet"),
        ("BahdanauAttention", "additive"), ("RelativeSelfAttention", "relative_position"),
        ("CrossAttention", "cross"), ("nadaraya_watson", "kernel_regression"),
    ],
)  # fmt: skip
def test_a_name_that_tells_one_mechanism_is_tried_as_that_first(name: str, mechanism: str) -> None:
    assert first(NAMELESS[mechanism], f"package.module:{name}") == mechanism


@pytest.mark.parametrize(
    ("target", "mechanism"),
    [
        (Attention, "additive"), (made, "additive"), (functools.partial(Attention, 3), "additive"),
        (Attention(3, 4, 5), "additive"), (ChannelAttention, "channel_self"), (ChannelGateAttention, "cbam_channel"),
    ],
)  # fmt: skip
def test_a_name_of_many_is_told_by_the_code(target: object, mechanism: str) -> None:
    name = "Attention" if mechanism == "additive" else "ChannelAttention"

    assert first(target, f"my_file.py:{name}") == mechanism


def test_a_function_of_three_tensors_is_tried_before_all_as_what_has_no_weights() -> None:
    assert first(softly, "my_file.py:softly") in ("scaled_dot_product", "dot_product")


def test_an_object_that_is_called_takes_what_its_call_takes() -> None:
    assert "scaled_dot_product" in likely_mechanisms(Callable, "my_file.py:MeteredAttention")


def test_who_takes_one_input_is_nobody_that_needs_three() -> None:
    assert "scaled_dot_product" in likely_mechanisms(softly, "my_file.py:attend")
    assert "scaled_dot_product" not in likely_mechanisms(ChannelAttention, "my_file.py:attend")


def test_a_name_that_tells_nothing_is_tried_as_the_usual_two() -> None:
    # Without source, and with a number of inputs that tells nothing.
    assert [*likely_mechanisms(abs, "builtins:abs")] == ["multi_head", "cross"]


def test_every_mechanism_has_signs_and_every_sign_is_of_a_mechanism() -> None:
    assert {*SIGNS} == {m.id for m in MECHANISMS}
    for signs in SIGNS.values():
        for pattern in (signs.name, signs.hint, *signs.code):
            re.compile(pattern)
