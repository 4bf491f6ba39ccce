"""The errata's crashes that depend on sizes, made again: the condition found is the errata's."""

import random

import pytest
from torch import Tensor, nn

from attncheck.shapes.proof import answer, prove
from attncheck.shapes.question import Question
from attncheck.shapes.replay import replay

IMAGE = ("batch", "6", "height", "width")


class SubSampled(nn.Module):
    """NL-3 of the errata: keys are pooled without a thought for maps of one row."""

    def forward(self, x: Tensor) -> Tensor:
        keys = nn.functional.max_pool2d(x, 2).flatten(2)
        weights = (x.flatten(2).mT @ keys).softmax(-1)
        return x + (weights @ keys.mT).mT.reshape(x.shape)


class Strided(nn.Module):
    """RN-6 of the errata: the main path rounds up, the skip rounds down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + nn.functional.avg_pool2d(x, 2)


class Normed(nn.Module):
    """Of CB, SK and NL alike: a batch norm in training, at a stride, has nothing to average over a single pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class PooledSkip(nn.Module):
    """CB-1 of the errata: the padding of the kernel, given to a pool whose side is 3."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, kernel, padding=kernel // 2)
        self.pool = nn.MaxPool2d(3, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.pool(x)


class Grouped(nn.Module):
    """SK-7 of the errata: two groups by default, whatever the number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ValueFromKey(nn.Module):
    """CA-2 of the errata: the value is projected from the projected key."""

    def __init__(self, key_size: int, v_dim: int) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(key_size, v_dim), nn.Linear(key_size, v_dim)

    def forward(self, y: Tensor) -> Tensor:
        return self.value(self.key(y))


def test_pooled_keys_break_maps_of_one_row_or_column():
    proof = prove(SubSampled, {"x": IMAGE}, IMAGE)
    question = Question(lambda _: SubSampled(), {"x": IMAGE}, IMAGE)
    draw = random.Random(0)

    assert (proof.status, proof.complete) == ("refuted", True)
    assert proof.predicate == "height == 1 or width == 1"
    for _ in range(60):
        sizes = {axis: draw.choice((1, 1, 2, 3, 5, 7, 16, 33)) for axis in question.axes}
        assert proof.predict(sizes) == replay(question, sizes).outcome, sizes


def test_strides_that_round_apart_break_odd_sizes_from_five():
    halved = ("batch", "6", "(height - 1) // 2 + 1", "(width - 1) // 2 + 1")

    # RN-7 and RN-8 of the errata: 3 broadcasts, and 1 is too small for the pool.
    proof = prove(Strided, {"x": IMAGE}, halved, legal=("height >= 2", "width >= 2"))

    assert (proof.status, proof.complete) == ("refuted", True)
    expected = "(height % 2 == 1 and height >= 5) or (width % 2 == 1 and width >= 5)"
    assert proof.predicate == expected


def test_a_norm_in_training_breaks_one_sample_of_one_pixel():
    halved = ("batch", "6", "(height - 1) // 2 + 1", "(width - 1) // 2 + 1")

    proof = prove(Normed, {"x": IMAGE}, halved)

    assert (proof.status, proof.complete) == ("refuted", True)
    # The errata's own words: batch · ⌈height / 2⌉ · ⌈width / 2⌉ == 1.
    assert proof.predicate == "batch * ((height - 1) // 2 + 1) * ((width - 1) // 2 + 1) == 1"


@pytest.mark.parametrize(
    ("question", "predicate"),
    [
        (
            Question(
                lambda sizes: PooledSkip(sizes["kernel"]), {"x": IMAGE}, IMAGE,
                legal=("kernel == 3 or kernel == 5 or kernel == 7",), constructor=("kernel",),
            ),
            "kernel == 5 or kernel == 7",
        ),
        (
            Question(
                lambda sizes: Grouped(sizes["channels"]), {"x": ("1", "channels", "5", "7")},
                ("1", "channels", "5", "7"), constructor=("channels",),
            ),
            "channels % 2 == 1",
        ),
        (
            Question(
                lambda sizes: ValueFromKey(sizes["key_size"], sizes["v_dim"]),
                {"y": ("batch", "kv_len", "key_size")}, ("batch", "kv_len", "v_dim"),
                constructor=("key_size", "v_dim"),
            ),
            "key_size != v_dim",
        ),
    ],
)  # fmt: skip
def test_sizes_of_the_constructor_are_symbols_too(question, predicate):
    proof = answer(question)

    assert (proof.status, proof.complete, proof.predicate) == ("refuted", True, predicate)
