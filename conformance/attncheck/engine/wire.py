"""Frames between the judge and a worker: JSON and raw tensors, nothing that could run on arrival."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Taken before a target is imported: it may replace torch's own.
import torch
from torch import Tensor, empty, frombuffer

from attncheck.strategies.tensors import in_bytes

_DTYPES: Mapping[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
_LENGTHS = struct.Struct("<QI")  # bytes of the whole body, bytes of its JSON
_ALIGNMENT = 16
LONGEST = 16 << 30
_JOINED = 1 << 16  # below, one write costs less than a copy saves
_PLAIN = Tensor


class BrokenFrameError(ValueError):
    """Bytes that no worker of ours wrote."""


class UnsendableError(TypeError):
    """A tensor that has no plain buffer."""


@dataclass(frozen=True)
class Frame:
    """One message: its JSON and its tensors, which share one buffer of their own."""

    header: Mapping[str, object]
    tensors: Mapping[str, Tensor]


def packed(header: Mapping[str, object], tensors: Mapping[str, Tensor] | None = None) -> list[memoryview]:
    """A message as buffers to be sent one after the other.

    Raises UnsendableError for a tensor without a plain buffer, such as a quantised one.
    """
    listed = []
    buffers = []
    for name, tensor in (tensors or {}).items():
        data = _buffer(name, tensor)
        listed.append([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        buffers += [data, memoryview(bytes(-len(data) % _ALIGNMENT))]
    text = json.dumps({**header, "tensors": listed}, default=str).encode()
    text += b" " * (-(_LENGTHS.size + len(text)) % _ALIGNMENT)
    body = len(text) + sum(map(len, buffers))
    head = _LENGTHS.pack(body, len(text)) + text
    if body < _JOINED:
        return [memoryview(b"".join([head, *buffers]))]
    return [memoryview(head), *buffers]


class Reader:
    """Cuts arriving bytes into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._bytes += data

    def next(self) -> Frame | None:
        """The next whole frame. Raises BrokenFrameError at the first sign that it is none."""
        if len(self._bytes) < _LENGTHS.size:
            return None
        body, text = self._lengths()
        end = _LENGTHS.size + body
        if len(self._bytes) < end:
            return None
        # The tensors keep the copy alive, and the lengths stay in it for the alignment.
        frame = self._bytes[:end]
        del self._bytes[:end]
        return _parsed(frame, _LENGTHS.size + text)

    def _lengths(self) -> tuple[int, int]:
        body, text = _LENGTHS.unpack_from(self._bytes)
        if not 2 <= text <= body <= LONGEST:
            raise BrokenFrameError(f"expected a frame, got bytes that begin with {bytes(self._bytes[:12])!r}")
        return body, text


def _parsed(frame: bytearray, start: int) -> Frame:
    try:
        header = json.loads(frame[_LENGTHS.size : start])
        listed = header.pop("tensors")
        tensors = {}
        for name, dtype, shape in listed:
            tensors[name], start = _tensor(frame, start, _DTYPES[dtype], shape)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BrokenFrameError(f"expected a frame, got one that cannot be read: {error}") from None
    if start != len(frame):
        raise BrokenFrameError(f"expected a frame of {start} bytes, got {len(frame)}")
    return Frame(header, tensors)


def _tensor(frame: bytearray, start: int, dtype: torch.dtype, shape: list[int]) -> tuple[Tensor, int]:
    count = 1
    for extent in shape:
        if not isinstance(extent, int) or extent < 0:
            raise ValueError(f"the shape {shape}")
        count *= extent
    size = count * dtype.itemsize
    end = start + size + -size % _ALIGNMENT
    if end > len(frame):
        raise ValueError(f"a tensor of {size} bytes that are not there")
    if not count:
        return empty(shape, dtype=dtype, device="cpu"), end
    return frombuffer(frame, dtype=dtype, count=count, offset=start).reshape(shape), end


def _buffer(name: str, tensor: Tensor) -> memoryview:
    if (
        str(tensor.dtype).removeprefix("torch.") not in _DTYPES
        or tensor.layout != torch.strided
        or tensor.is_meta
    ):
        what = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
        raise UnsendableError(f"{name}: expected a dense tensor of an ordinary dtype, got {what}")
    if not tensor.numel():
        return memoryview(b"")
    plain = tensor.detach().as_subclass(_PLAIN).cpu().resolve_conj().resolve_neg()
    # Flat first: a tensor without axes has no view as bytes.
    array = in_bytes(plain).numpy()
    return memoryview(array)  # type: ignore[arg-type]  # numpy's stubs know the buffer protocol from 3.12 on
