"""What isolation costs: first start, questions in batches against the same process, crash and restart.

Run it: `python tests/benchmarks/isolation.py`. Ratios are of one run; absolute times are this machine's.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable

import torch

from attncheck.engine.isolated import Isolated
from attncheck.engine.openers import open_reference
from attncheck.engine.put import Executor, InProcess
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

MECHANISM = "multi_head"
ROUNDS = 7
SIZES = {
    "q_len": 11,
    "kv_len": 13,
    "query_size": 7,
    "key_size": 5,
    "value_size": 3,
    "model_dim": 12,
    "heads": 3,
}


def questions(batch: int, longer: int) -> list[Ask]:
    """Half of them new cases, half the same case with one input changed, as laws ask."""
    subject = Subject(BY_ID[MECHANISM], open_reference(MECHANISM).interface)
    sizes = {**SIZES, "batch": batch, "q_len": SIZES["q_len"] * longer, "kv_len": SIZES["kv_len"] * longer}
    plain = [subject.ask(Case(sizes, seed=seed)) for seed in range(64)]
    return plain + [ask.edit("k", "permute", 1, 5) for ask in plain]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(inside: Executor, outside: Executor, asks: list[Ask]) -> tuple[float, float]:
    """Microseconds a question in process, and the ratio; of alternating rounds the fastest of each."""
    # The fastest: other work on the machine only ever adds to a round.
    pairs = [(seconds(lambda: inside.put(asks)), seconds(lambda: outside.put(asks))) for _ in range(ROUNDS)]
    within, isolated = (min(times) for times in zip(*pairs, strict=True))
    return within / len(asks) * 1e6, isolated / within


def main() -> None:
    torch.set_num_threads(1)
    inside = InProcess(open_reference(MECHANISM))
    with Isolated("attncheck.engine.openers:open_reference", {"mechanism": MECHANISM}) as outside:
        first = questions(2, 1)[:1]
        print(
            f"first start, torch imported in the judge    {seconds(lambda: outside.put(first)) * 1e3:8.0f} ms"
        )
        for batch, longer in ((2, 1), (5, 10)):
            asks = questions(batch, longer)
            inside.put(asks)
            outside.put(asks)
            cost, times = ratio(inside, outside, asks)
            what = f"{len(asks)} questions, batch={batch} q_len={SIZES['q_len'] * longer}"
            print(f"{what:43} {cost:8.0f} us each, isolated x{times:.3f}")
        assert outside._child is not None
        restarts = []
        for _ in range(ROUNDS):
            os.kill(outside._child.pid, signal.SIGKILL)
            restarts.append(seconds(lambda: outside.put(first * 2)))
        print(f"crash, restart and the next answer          {statistics.median(restarts) * 1e3:8.0f} ms")


if __name__ == "__main__":
    main()
