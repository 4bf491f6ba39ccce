"""From a failing case to the smallest one: Hypothesis shrinks sizes and options, never tensors."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from attncheck.checks.check import Check
from attncheck.engine.judging import Known, judge
from attncheck.engine.put import Executor
from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject

_TRIES = 80
_STEPS = 12
# Of a check whose every question is compiled first, which takes seconds.
_SLOW_TRIES = 16
_SLOW_STEPS = 2


class _StillFailsError(Exception):
    """Raised to Hypothesis for every case that shows the finding."""


def smallest(check: Check, subject: Subject, finding: Finding, executor: Executor, known: Known) -> Finding:
    """The finding on the smallest case that shows the same kind of failure."""
    smaller: list[Finding] = [finding]

    def judged(case: Case) -> Finding | None:
        verdict = judge(check, subject, [case], executor, known)
        return next((f for f in verdict.findings if f.kind == finding.kind), None)

    def attempt(case: Case) -> None:
        found = judged(case)
        if found is not None:
            smaller[0] = found
            raise _StillFailsError

    _descend(subject, finding.case, attempt, _SLOW_TRIES if check.most else _TRIES)
    _step_down(subject, smaller, judged, _SLOW_STEPS if check.most else _STEPS)
    return smaller[0]


def _step_down(
    subject: Subject, smaller: list[Finding], judged: Callable[[Case], Finding | None], steps: int
) -> None:
    """Take one off each size in turn for as long as the failure stays: the last steps chance may miss."""
    for _ in range(steps):
        case = smaller[0].case
        rules = rules_of(subject, dict(case.options))
        lower = ({**case.sizes, a: case.sizes[a] - 1} for a in rules.primary if case.sizes[a] > 1)
        complete = (rules.complete({a: sizes[a] for a in rules.primary}) for sizes in lower)
        found = (judged(replace(case, sizes=sizes)) for sizes in complete if sizes is not None)
        finding = next((f for f in found if f is not None), None)
        if finding is None:
            return
        smaller[0] = finding


def _descend(subject: Subject, start: Case, attempt: Callable[[Case], None], tries: int) -> None:
    """Let Hypothesis look for smaller cases; the last one that failed is its smallest."""
    defaults = default_options(subject)
    primary = rules_of(subject, dict(start.options)).primary
    choices = {axis: _at_most(start.sizes[axis]) for axis in primary}
    options = {
        name: st.sampled_from(_simpler(defaults.get(name), value)) for name, value in start.options.items()
    }

    @settings(
        max_examples=tries,
        derandomize=True,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(choices), st.fixed_dictionaries(options))
    def search(sizes: dict[str, int], chosen: dict[str, object]) -> None:
        complete = rules_of(subject, dict(chosen)).complete(sizes)  # type: ignore[arg-type]  # scalars
        if complete is not None:
            attempt(replace(start, sizes=complete, options=chosen))  # type: ignore[arg-type]  # scalars

    try:
        search()
    except _StillFailsError:
        return
    except Exception as error:
        # A target that answers now so, now otherwise: Hypothesis calls that flaky. The case stands.
        if type(error).__module__.split(".")[0] != "hypothesis":
            raise


def _at_most(size: int) -> st.SearchStrategy[int]:
    """Sizes up to the failing one, which itself comes up three times in four: shrinking starts there."""
    keep = st.sampled_from((False, True, True, True))
    return st.tuples(keep, st.integers(min(1, size), size)).map(lambda pair: size if pair[0] else pair[1])


def _simpler(default: object, value: object) -> tuple[object, ...]:
    return (value,) if default == value else (default, value)
