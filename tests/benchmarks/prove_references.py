"""Every reference's shape contract for all sizes: `prove_references.py [--forms] [ID…]`.

`--forms` adds each value of each option, each optional input and each further result.
"""

import sys
import time
from collections.abc import Iterator

import torch

from attncheck.shapes.proof import Proof
from attncheck.shapes.reference import Form, prove_reference
from attnref import MECHANISMS, Mechanism
from attnref._signature import read


def forms(mechanism: Mechanism) -> Iterator[Form]:
    """The plain call, each other value of each option, each optional input, each further result."""
    yield Form()
    for option in mechanism.contract.options:
        for value in option.values[1:]:
            yield Form(options={option.name: value})
    function = mechanism.call if mechanism.module is None else mechanism.module.forward
    for tensor in read(function, mechanism.outputs).inputs:
        for dims in tensor.ranks if tensor.optional else ():
            yield Form(given={tensor.name: len(dims)})
    for result in mechanism.outputs[1:]:
        yield Form(result=result)


def main() -> None:
    every = "--forms" in sys.argv
    chosen = [word for word in sys.argv[1:] if word != "--forms"]
    torch.set_num_threads(1)
    started, statuses = time.process_time(), []
    print(f"{'mechanism':<20} {'form':<34} {'status':<8} {'paths':>5} {'runs':>5} {'seconds':>7}  scope")
    for mechanism in MECHANISMS:
        if chosen and mechanism.id not in chosen:
            continue
        for form in forms(mechanism) if every else (Form(),):
            proof = prove_reference(mechanism, form=form)
            statuses.append(proof.status)
            print(_row(mechanism.id, form, proof), flush=True)
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
    print(f"{counts}; {time.process_time() - started:.1f} s of the processor in all")


def _row(mechanism: str, form: Form, proof: Proof) -> str:
    parts = [f"{name}={value}" for name, value in form.options.items()]
    parts += [f"{name} of rank {rank}" for name, rank in form.given.items()]
    shown = " ".join(parts) or form.result or "plain"
    words = proof.reason or proof.predicate or proof.scope
    return (
        f"{mechanism:<20} {shown:<34} {proof.status:<8} {len(proof.paths):>5} {proof.replayed:>5} "
        f"{proof.seconds:>7.2f}  {words[:120]}"
    )


if __name__ == "__main__":
    main()
