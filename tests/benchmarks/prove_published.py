"""Published modules' shapes for all sizes, and 200 random real runs of each against what the proof predicts.

`python tests/benchmarks/prove_published.py docs/matrix/targets.toml CACHE [WORD…]` proves the targets
that have no adapter of their own, or of these those whose path contains a WORD.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = 200
SECONDS = 30.0
# Ones and coincidences are where shapes go wrong; a prime and a size behind a block the rest.
_LIKELY = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 24, 31, 33)
_PATIENCE = 600.0


def main(path: str, cache: Path, words: list[str]) -> None:
    from attncheck.engine.environments import Environments, InstallError
    from attncheck.engine.targets_file import read

    file = read(path)
    environments = Environments(cache, file.folder)
    print("| target | mechanism | result | symbols | paths | real runs that agree | seconds |")
    print("|---|---|---|---|---|---|---|")
    for cell in file.cells:
        if cell.adapter or not cell.mechanism or not (not words or any(w in cell.target for w in words)):
            continue
        try:
            python = environments.python(cell.package)
        except InstallError as error:
            print(f"| {cell.target} | {cell.mechanism} | not installed: {error} |", flush=True)
            continue
        order = json.dumps([cell.target, cell.mechanism, dict(cell.init)])
        print(_row(cell.target, cell.mechanism, _asked(python, order)), flush=True)


def _asked(python: str, order: str) -> dict[str, Any]:
    """What the other mode of this file says, in the environment of the target."""
    command = [python, __file__, "--one", order]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return {"result": f"no answer within {_PATIENCE:.0f} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"result": (done.stderr.strip().splitlines() or ["no output"])[-1][:160]}
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _row(target: str, mechanism: str, told: dict[str, Any]) -> str:
    if "status" not in told:
        return f"| `{target}` | {mechanism} | {told['result']} | | | | |"
    agreed = f"{told['agreed']} of {told['runs']}"
    if told["unpredicted"]:
        agreed += f", {told['unpredicted']} not predicted"
    if told["misses"]:
        agreed += f"; misses {told['misses'][:2]}"
    return (
        f"| `{target}` | {mechanism} | {told['result']} | {told['symbols']} | {told['paths']} | {agreed} "
        f"| {told['seconds']:.1f} |"
    )


def one(target: str, mechanism: str, init: dict[str, str]) -> dict[str, Any]:
    """Find, prove and run one target in this process."""
    import torch

    from attncheck.model.errors import NoAdapterError
    from attncheck.shapes.proof import answer
    from attncheck.targets.opening import find, open_found
    from attncheck.targets.proving import contract_of, named_by_constructor

    torch.set_num_threads(1)
    try:
        found = find(target, mechanism, init, lambda _: None)
    except NoAdapterError as error:
        return {"result": f"no adapter: {str(error).splitlines()[0][:90]}"}
    adapter = open_found(target, found)
    contract = contract_of(adapter, named_by_constructor(adapter.found))
    if contract is None:
        return {"result": "no legal sizes are known to construct it with"}
    started = time.process_time()
    proof = answer(contract.question, seconds=SECONDS)
    seconds = time.process_time() - started
    result = {"proved": "proved", "open": f"open: {proof.reason}"}.get(
        proof.status, f"refuted: breaks where {proof.predicate or proof.witnesses[:1]}"
    )
    return {
        "status": proof.status,
        "result": result,
        "symbols": ", ".join(contract.question.axes),
        "paths": len(proof.paths),
        "seconds": seconds,
        **_runs(proof, contract.question),
    }


def _runs(proof: Any, question: Any) -> dict[str, Any]:
    """Real runs at random legal sizes, on a fresh instance each, beside the prediction."""
    from attncheck.shapes.expressions import both, holds
    from attncheck.shapes.replay import replay

    draw, domain = random.Random(0), both(question.domain)
    agreed = unpredicted = runs = 0
    misses: list[str] = []
    for _ in range(50 * RUNS):
        if runs == RUNS:
            break
        sizes = {axis: draw.choice(_LIKELY) for axis in question.axes}
        if not holds(domain, {**question.fixed, **sizes}):
            continue
        predicted, real = proof.predict(sizes), replay(question, sizes).outcome
        # Too large for this machine: other sizes are drawn.
        if real == "skipped":
            continue
        runs += 1
        if predicted is None:
            unpredicted += 1
        # A symbolic crash can be a real broadcast: both break the contract.
        elif (predicted == "ok") == (real == "ok"):
            agreed += 1
        else:
            misses.append(f"{sizes}: {predicted}, but {real}")
    return {"runs": runs, "agreed": agreed, "unpredicted": unpredicted, "misses": misses}


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(one(*json.loads(sys.argv[2]))))
    else:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
