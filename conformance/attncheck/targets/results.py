"""Which part of what a call returns is the output, or a gate or weights in its place."""

from dataclasses import replace
from typing import Any

from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.gating import WEIGHED, form_of, weighs
from attncheck.targets.subject import Subject
from attncheck.targets.tapping import places_of
from attncheck.targets.trying import attempt


def results(base: Found, target: Any, case: Any) -> list[Found]:
    """The parts of a result that have the shape of the output, and the weights beside them."""
    adapter = FoundAdapter(base, target)
    subject = Subject(adapter.mechanism, adapter.interface)
    shape = tuple(d.size({**case.names, **base.fixed}) for d in _output_dims(subject, case))
    found = []
    for place in places_of(base, target, case):
        trial = attempt(replace(base, result=place), target, case, load=False)
        actual = tuple(trial.results["out"].shape) if trial.ran else ()
        gate = (
            form_of(base.mechanism, actual, case.sizes) if _may_be_no_output(base) and actual != shape else ""
        )
        if trial.ran and (actual == shape or gate):
            found.append(replace(base, result=place, gate=gate))
    return found


def _may_be_no_output(base: Found) -> bool:
    """Whether what comes back may be a gate, or weights where no values were handed over."""
    if weighs(base.mechanism):
        return not any(WEIGHED in base.inputs.get(argument.tensor, ()) for argument in base.call)
    return base.result_layout in ("", "channels first")


def _output_dims(subject: Subject, case: Any) -> Any:
    shape = subject.signature["out"]
    given = len(next(iter(subject.ask(case).inputs.values())).shape)
    return next((dims for dims in shape.ranks if len(dims) == given), shape.dims)
