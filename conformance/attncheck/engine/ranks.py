"""Targets in several processes: opening them, what they refuse, and which rank is wrong."""

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite

from torch import Tensor

from attncheck.checks.oracle import expect
from attncheck.engine.put import Executor
from attncheck.engine.request import Request
from attncheck.engine.session import Limits
from attncheck.engine.sharded import Sharded
from attncheck.model.case import Case, Scalar
from attncheck.model.errors import UsageError
from attncheck.model.finding import Finding
from attncheck.shapes.catalogue import BY_ID
from attncheck.strategies.tolerance import RIGHT, difference
from attncheck.targets.ask import Answer
from attncheck.targets.sharding import SHARDED, bounds
from attncheck.targets.subject import Subject


def sharded(request: Request, limits: Limits, dtypes: tuple[str, ...]) -> tuple[Subject, Sharded]:
    """A target in `world` processes, and what it was seen to refuse. Raises as `open_target` does."""
    mechanism = request.mechanism
    if not isinstance(request.target, str) or request.adapter is not None or not request.isolate:
        raise UsageError("--world: expected a target by its path, without --adapter and --no-isolate")
    if mechanism is None:
        raise UsageError("--world: say with --mechanism what the processes compute together")
    executor = Sharded(request.target, mechanism, request.world, limits)
    try:
        interface = executor.interface
        # Gloo adds up no half precision: such targets are judged in it only if they say so.
        dtypes = dtypes if request.dtypes else ("float64", "float32")
        subject = Subject(BY_ID[mechanism], interface, request.device, dtypes, request.world)
        if interface.derived:
            subject = _probed(subject, executor)
    except BaseException:
        executor.close()
        raise
    return subject, executor


def _probed(subject: Subject, executor: Sharded) -> Subject:
    """The subject with the sizes that the target refuses: those at which it raises, not those it gets wrong."""
    world = subject.world
    sizes = {
        "batch": 2,
        "heads": 2 * world,
        "q_len": 2 * world,
        "kv_len": 2 * world,
        "head_dim": 4,
        "v_dim": 6,
    }
    probes = {
        f"heads % {world} == 0": {"heads": 2 * world + 1},
        f"q_len % {world} == 0 and kv_len % {world} == 0": {"q_len": 3 * world - 1, "kv_len": 3 * world - 1},
        "q_len == kv_len": {"kv_len": 3 * world},
        "head_dim == v_dim": {},
    }
    alike = {"v_dim": 4}
    if executor.put([subject.ask(Case({**sizes, **alike}, device=subject.device))])[0].trouble is not None:
        return subject
    learned, notes = [], []
    for rule, change in probes.items():
        other = sizes if rule == "head_dim == v_dim" else {**sizes, **alike}
        (answer,) = executor.put([subject.ask(Case({**other, **change}, device=subject.device))])
        if answer.trouble is not None:
            learned.append(rule)
            notes.append(f"judged only at sizes with {rule}: elsewhere it raises {answer.trouble.kind}")
    executor.learn(tuple(learned))
    interface = subject.interface
    # What is a divisor or an equality for the target is one for every case that is planned.
    parts = [part for rule in learned for part in rule.split(" and ") if part != "q_len == kv_len"]
    derived = {**interface.derived, **({"v_dim": "head_dim"} if "head_dim == v_dim" in learned else {})}
    refuses = (*interface.refuses, *(part for part in parts if part != "head_dim == v_dim"))
    interface = replace(interface, refuses=refuses, derived=derived, notes=(*interface.notes, *notes))
    return replace(subject, interface=interface)


def naming_ranks(subject: Subject, executor: Executor, finding: Finding) -> Finding:
    """The finding with the ranks whose part of the answer is not the reference's."""
    if not isinstance(executor, Sharded) or not isfinite(finding.gap):
        return finding
    # Some checks ask for causal order, whatever the case says.
    forms: list[dict[str, Scalar]] = [{}]
    if "causal" in subject.interface.takes:
        forms.append({"causal": True})
    for form in forms:
        blamed = _blamed(subject, executor, finding.case.with_options(**form))
        if blamed:
            listed = "; ".join(f"rank {rank} ({wrong})" for rank, wrong in blamed.items())
            return replace(finding, actual=f"{finding.actual}; wrong on {listed} of {subject.world}")
    return finding


def _blamed(subject: Subject, executor: Sharded, case: Case) -> dict[int, str]:
    """What is wrong on which ranks: of outputs, or of gradients if these are right."""
    gradients = tuple(subject.inputs)
    ask = subject.ask(case, gradients=gradients)
    answers = executor.ranks(ask)
    if any(answer.trouble for answer in answers):
        return {}
    expected = expect(subject, ask).tensors
    for names in (("out",), tuple(f"grad.{name}" for name in gradients)):
        wrong = {
            rank: [name for name in names if _wrong(subject, answer, expected, name, rank)]
            for rank, answer in enumerate(answers)
        }
        if any(wrong.values()):
            return {rank: " and ".join(listed) for rank, listed in wrong.items() if listed}
    return {}


def _wrong(subject: Subject, answer: Answer, expected: Mapping[str, Tensor], name: str, rank: int) -> bool:
    """Whether a rank's own part of one tensor is not what it should be."""
    if name not in expected:
        return False
    shape = subject.signature[name.removeprefix("grad.")]
    place = next((i for i, axis in enumerate(shape.axes) if axis in SHARDED), None)
    if name not in answer.tensors:
        return True
    given, wanted = answer.tensors[name], expected[name]
    if given.shape != wanted.shape:
        return True
    if not subject.interface.derived or place is None:
        given = given * subject.world
    else:
        part = bounds(wanted.shape[place], rank, subject.world)
        given, wanted = given.narrow(place, *part), wanted.narrow(place, *part)
    return difference(given, wanted).gap > RIGHT
