"""Values beyond 65536 positions through the command line: time, and the most memory of judge and target.

`python tests/benchmarks/deep_budget.py [TARGET]`; on a busy machine raise `--time-limit` in here.
"""

import resource
import subprocess
import sys
import time

OPERATOR = "torch.nn.functional:scaled_dot_product_attention"


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else OPERATOR
    started = time.perf_counter()
    command = [sys.executable, "-m", "attncheck", "run", target, "-m", "scaled_dot_product", "--verbose"]
    command += ["--budget", "deep", "--check", "long_sequences_match", "--skip", "runs_at_every_legal_size"]
    command += ["--skip", "output_has_the_right_shape", "--time-limit", "60", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    # Of all processes below this one: the largest, be it the judge or the target.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(done.stdout)
    print(f"exit {done.returncode}, {seconds:.0f} s, at most {peak:.0f} MiB in one process")


if __name__ == "__main__":
    main()
