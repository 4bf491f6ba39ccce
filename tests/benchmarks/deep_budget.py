"""Values beyond 65536 positions through the command line: time, and the most memory of judge and target.

`python tests/benchmarks/deep_budget.py [TARGET MECHANISM CHECK]`; on a busy machine raise `--time-limit` in here.
Without arguments: torch's operator, then `FusedNonLocal` from here, a block that keeps no weights.
"""

import resource
import subprocess
import sys
import time

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

RUNS = (
    ("torch.nn.functional:scaled_dot_product_attention", "scaled_dot_product", "long_sequences_match"),
    (f"{__file__}:FusedNonLocal", "non_local", "large_maps_match"),
)


class FusedNonLocal(nn.Module):
    """The block over torch's operator, whose weights for all pairs of pixels never exist."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, reduced, 1) for _ in range(3))
        self.output = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).flatten(2).mT[:, None].contiguous() for layer in layers)
        read = scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].mT
        return x + self.output(read.unflatten(2, x.shape[2:]))


def main() -> None:
    for target, mechanism, check in [tuple(sys.argv[1:4])] if len(sys.argv) > 1 else RUNS:
        measured(target, mechanism, check)


def measured(target: str, mechanism: str, check: str) -> None:
    started = time.perf_counter()
    command = [sys.executable, "-m", "attncheck", "run", target, "-m", mechanism, "--verbose"]
    command += ["--budget", "deep", "--check", check, "--skip", "runs_at_every_legal_size"]
    command += ["--skip", "output_has_the_right_shape", "--time-limit", "60", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    # Of all processes below this one: the largest, be it the judge or the target.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(done.stdout)
    print(f"exit {done.returncode}, {seconds:.0f} s, at most {peak:.0f} MiB in one process")


if __name__ == "__main__":
    main()
