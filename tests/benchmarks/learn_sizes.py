"""How many labels, and how long, it takes to learn where something fails: `learn_sizes.py`."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from attncheck.diagnosis.sizes import FAILS, PASSES, Space, equivalent, learn

SPACE = Space(
    {
        "batch": (1, 5),
        "heads": (1, 6),
        "q_len": (0, 33),
        "kv_len": (0, 33),
        "head_dim": (1, 16),
        "query_size": (1, 24),
        "key_size": (1, 24),
        "value_size": (1, 24),
    },
    {"causal": (False, True), "mask": (None, "bool", "float")},
)
LAWS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "query_size != key_size": lambda c: c["query_size"] != c["key_size"],
    "causal and q_len > kv_len": lambda c: c["causal"] and c["q_len"] > c["kv_len"],
    "heads * head_dim > 32": lambda c: c["heads"] * c["head_dim"] > 32,
    "q_len > kv_len or (causal and mask is not None)": lambda c: (
        c["q_len"] > c["kv_len"] or (c["causal"] and c["mask"] is not None)
    ),
}


def main() -> None:
    for text, fails in LAWS.items():
        for seed in range(3):
            began = time.perf_counter()
            learned = learn(lambda case, fails=fails: "raises" if fails(case) else PASSES, SPACE, seed=seed)[
                FAILS
            ]
            seconds = time.perf_counter() - began
            right = learned is not None and equivalent(text, learned.text, SPACE)
            print(f"{text:50} seed {seed}  {'right' if right else 'WRONG'}  {learned}  {seconds:.2f} s")


if __name__ == "__main__":
    main()
