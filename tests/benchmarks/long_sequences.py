"""Truth at 65536 tokens: torch's causal operator against rows sampled in float64, and what oracles cost.

`python tests/benchmarks/long_sequences.py [--gradients]`; times are of one thread.
"""

import resource
import subprocess
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

from attnref.long import long_attention, sampled_rows
from attnref.mechanisms.scaled_dot_product import scaled_dot_product

LENGTH = 65536
HEAD_DIM = 32
# Scores, their mask and the softmax of 8192 tokens in float64 are half a GiB each.
NAIVE_LENGTHS = (2048, 4096, 8192)


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in JOBS:
        print(JOBS[sys.argv[1]](int(sys.argv[2])))
        return
    print(f"{'what':<44} {'tokens':>7} {'seconds':>8} {'peak MiB':>9}  error")
    plan = [
        ("sampled", LENGTH),
        *(("naive", n) for n in NAIVE_LENGTHS),
        *(("blocks", n) for n in NAIVE_LENGTHS),
    ]
    if "--gradients" in sys.argv:
        plan += [("blocks", LENGTH), ("gradients", LENGTH // 4)]
    for job, length in plan:
        # A process of its own each: the peak of memory never falls again.
        command = [sys.executable, __file__, job, str(length)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def drawn(length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (1, 1, length, HEAD_DIM)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for _ in range(3)]


def row(what: str, length: int, started: float, before: int, error: str = "") -> str:
    seconds = time.perf_counter() - started
    return f"{what:<44} {length:>7} {seconds:>8.2f} {(peak() - before) / 1024:>9.0f}  {error}"


def peak() -> int:
    """The most memory this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def sampled(length: int) -> str:
    """torch's operator in float32, then 64 of its rows in float64 from the same numbers."""
    tensors = drawn(length, torch.float32)
    started, before = time.perf_counter(), peak()
    actual = scaled_dot_product_attention(*tensors, is_causal=True)
    first = row("torch's operator, causal, float32", length, started, before)
    positions = torch.randperm(length, generator=torch.Generator().manual_seed(1))[:64]
    wide = [tensor.double() for tensor in tensors]
    started, before = time.perf_counter(), peak()
    expected = sampled_rows(*wide, positions, causal=True)
    error = (actual[:, :, positions].double() - expected).abs().max() / expected.abs().max()
    return (
        f"{first}\n{row('64 sampled rows, float64', length, started, before, f'{error:.1e} of the largest')}"
    )


def naive(length: int) -> str:
    tensors = drawn(length, torch.float64)
    started, before = time.perf_counter(), peak()
    scaled_dot_product(*tensors, causal=True)
    return row("reference with all scores, causal, float64", length, started, before)


def blocks(length: int) -> str:
    tensors = drawn(length, torch.float64)
    started, before = time.perf_counter(), peak()
    out = long_attention(*tensors, causal=True)
    words = row("block by block, causal, float64", length, started, before)
    positions = torch.arange(0, length, length // 64)
    expected = sampled_rows(*tensors, positions, causal=True)
    error = (out[:, :, positions] - expected).abs().max() / expected.abs().max()
    return f"{words}{error:.1e} against sampled rows"


def gradients(length: int) -> str:
    tensors = [tensor.requires_grad_() for tensor in drawn(length, torch.float64)]
    started, before = time.perf_counter(), peak()
    long_attention(*tensors, causal=True).square().sum().backward()
    return row("block by block, with gradients, float64", length, started, before)


JOBS = {"sampled": sampled, "naive": naive, "blocks": blocks, "gradients": gradients}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
