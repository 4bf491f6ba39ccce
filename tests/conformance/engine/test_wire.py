"""Frames: what is packed arrives, and nothing else is taken for a frame."""

import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncheck.engine.wire import BrokenFrameError, Reader, UnsendableError, packed

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
)


def through(header: dict[str, object], tensors: dict[str, torch.Tensor] | None = None):
    reader = Reader()
    reader.feed(b"".join(packed(header, tensors)))
    return reader.next()


@given(shape=st.lists(st.integers(0, 5), max_size=4), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_a_tensor_arrives_with_its_dtype_shape_and_values(shape, dtype, seed):
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tensor = (numbers * 3).to(dtype)

    frame = through({}, {"first": tensor, "second": tensor})

    for arrived in frame.tensors.values():
        assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(arrived, tensor)


def test_nan_and_infinity_arrive():
    tensor = torch.tensor([float("nan"), float("inf"), -float("inf")])

    arrived = through({}, {"out": tensor}).tensors["out"]

    assert torch.equal(arrived.view(torch.int32), tensor.view(torch.int32))


def test_strides_and_conjugation_do_not_travel_but_values_do():
    turned = torch.arange(6.0).reshape(2, 3).T
    conjugated = torch.tensor([1 + 2j]).conj()

    frame = through({}, {"turned": turned, "conjugated": conjugated})

    assert torch.equal(frame.tensors["turned"], turned)
    assert torch.equal(frame.tensors["conjugated"], conjugated)


@pytest.mark.parametrize(
    "tensor", [torch.eye(2).to_sparse(), torch.empty(2, device="meta"), torch.zeros(2).to(torch.float8_e5m2)]
)
def test_a_tensor_without_a_plain_buffer_is_refused_by_name(tensor):
    with pytest.raises(UnsendableError, match="weights: expected a dense tensor of an ordinary dtype, got"):
        packed({}, {"weights": tensor})


@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_frames_are_whole_however_the_bytes_are_cut(cuts):
    data = b"".join(b"".join(packed({"number": n}, {"t": torch.full((n,), n)})) for n in range(3))
    reader = Reader()
    seen = []

    while data:
        cut = cuts[len(data) % len(cuts)]
        reader.feed(data[:cut])
        data = data[cut:]
        while (frame := reader.next()) is not None:
            seen.append((frame.header["number"], frame.tensors["t"].tolist()))

    assert seen == [(0, []), (1, [1]), (2, [2, 2])]


@given(data=st.binary(min_size=12, max_size=200))
def test_garbage_is_broken_or_incomplete_but_never_a_crash_of_the_judge(data):
    reader = Reader()
    reader.feed(data)

    try:
        frame = reader.next()
    except BrokenFrameError:
        return

    assert frame is None


def _frame(text: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<QI", len(text) + len(rest), len(text)) + text + rest


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is a print\n",
        _frame(b"not json"),
        _frame(b"[1, 2]"),
        _frame(b"{}"),
        _frame(b"[" * 50_000),
        _frame(b'{"tensors": [["out", "float64", [2]]]}'),
        _frame(b'{"tensors": [["out", "float64", [-2]]]}'),
        _frame(b'{"tensors": [["out", "Generator", [2]]]}', bytes(16)),
        _frame(b'{"tensors": []}', b"left over"),
        struct.pack("<QI", 1 << 60, 2),
    ],
)
def test_what_no_worker_wrote_is_a_broken_frame(data):
    reader = Reader()
    reader.feed(data)

    with pytest.raises(BrokenFrameError, match="expected a frame"):
        reader.next()
