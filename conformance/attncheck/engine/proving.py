"""The proof of a target's shape contract, made in a worker because it runs the target."""

import contextlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from attncheck.engine.opening import Opened
from attncheck.engine.request import Request
from attncheck.engine.session import Inquiry, Limits, Session, TargetTroubleError
from attncheck.shapes.catalogue import BY_ID
from attncheck.shapes.question import ALL_SIZES

# What a run spends on a proof beside its checks.
SECONDS_IN_A_RUN = 3.0
SYMBOLS_IN_A_RUN = 4


@dataclass(frozen=True)
class Proved:
    """`proved`, `refuted` or `open`, the whole of it as text, and the axes that were symbols."""

    status: str
    text: str
    axes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The first line, for a table; with the axes that it speaks of if not of all."""
        line = self.text.splitlines()[0]
        return line.replace(ALL_SIZES, f"{ALL_SIZES} of {', '.join(self.axes)}") if self.axes else line


def prove_target(
    request: Request,
    opened: Opened,
    seconds: float = 30.0,
    worker: Session | None = None,
    symbols: int | None = None,
) -> Proved:
    """Prove or refute the shape contract of a target that was found. A lost process leaves it open.

    In `worker`, or else in a new one; with so many symbols at most.
    """
    assert opened.found is not None, "expected a target named by its path"
    arguments = {"target": request.target, "found": opened.found.to_json(), "seconds": seconds}
    if symbols is not None:
        arguments["symbols"] = symbols
    return _asked("prove_found", arguments, request, worker)


def prove_mechanism(mechanism: str, seconds: float = 30.0) -> Proved:
    """The same for a reference. Raises KeyError if there is no such mechanism."""
    return _asked(
        "prove_mechanism", {"mechanism": BY_ID[mechanism].id, "seconds": seconds}, Request(mechanism)
    )


def in_a_run(request: Request, opened: Opened, worker: Session | None = None) -> str:
    """What a verdict on shapes says of all sizes; empty where nobody asked, or nothing was decided in time."""
    told = isinstance(request.target, str) and opened.found is not None
    if request.budget == "quick" or not told or importlib.util.find_spec("z3") is None:
        return ""
    proof = prove_target(request, opened, SECONDS_IN_A_RUN, worker, SYMBOLS_IN_A_RUN)
    return "" if proof.status == "open" else proof.headline


def _asked(
    function: str, arguments: dict[str, object], request: Request, worker: Session | None = None
) -> Proved:
    limits = Limits(bytes_of_memory=request.bytes_of_memory, device=request.device)
    try:
        with contextlib.nullcontext(worker) if worker is not None else Inquiry(limits) as session:
            answer: Any = session.run(f"attncheck.targets.proving:{function}", arguments)
    except TargetTroubleError as error:
        return Proved("open", f"open: neither proved nor refuted\n  because    {error.trouble}")
    text = answer["text"]
    if answer["fixed"]:
        text += f"\n  scope      constructed with {answer['fixed']}; everything else is a symbol"
    return Proved(answer["status"], text, tuple(answer["axes"]))
