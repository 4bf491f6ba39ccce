"""What turns a failure into an explanation: the predicate of sizes, the known mistake, a reproducer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from attncheck.checks.check import Check
from attncheck.checks.value import matches_the_reference
from attncheck.defects import Defect
from attncheck.diagnosis.naming import name, name_by
from attncheck.diagnosis.sizes import FAILS, PASSES, Space, learn
from attncheck.engine.judging import Known, judge
from attncheck.engine.opening import Opened
from attncheck.engine.put import Executor
from attncheck.engine.reproducer import reproducer
from attncheck.engine.request import Request
from attncheck.model.case import Case
from attncheck.model.finding import Finding
from attncheck.model.verdict import Family, Verdict
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.transforming import BEFORE

Tell = Callable[[str], None]

# A script takes seconds, most of which is the import of torch, so one is made for each likely cause.
_CAUSES: Mapping[Family, str] = {"shape": "shape", "hygiene": "hygiene"}
_TRIES = 3
_MODES = ("call", "with_grad", "inference")


# Labelled cases from which the sizes are learned: each costs a few calls of the target.
_LABELS = 100
# Of a check whose every question is compiled first, which takes seconds; the learner needs as many.
_SLOW_LABELS = 40


@dataclass
class Scripts:
    """What has been explained so far in one run: most findings share a cause, and one look is enough.

    `found` holds the causes that have a script, `vain` counts findings for which one was tried,
    `sized` the causes whose sizes were looked for. `named` is None until wrong answers were compared
    with known mistakes.
    """

    found: set[str] = field(default_factory=set)
    vain: Counter[str] = field(default_factory=Counter)
    sized: set[str] = field(default_factory=set)
    named: tuple[Defect, ...] | None = None


def explained(
    check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell, scripts: Scripts
) -> Finding:
    """The finding with everything that could be found out about it."""
    finding = _named(check, opened, finding, tell, scripts)
    finding = sized(check, opened, finding, request, tell, scripts)
    return _reproduced(check, opened, finding, request, tell, scripts)


def _named(check: Check, opened: Opened, finding: Finding, tell: Tell, scripts: Scripts) -> Finding:
    """The finding with the known mistake, or the two, that explain every answer of the target."""
    if not opened.subject.interface.loads:
        return finding
    if check.plans or check.family == "mode":
        tell("comparing with known mistakes")
        named = name_by(opened.subject, _answers(check, opened, finding), check.family)
    elif check.family in ("law", "value", "gradient"):
        if scripts.named is None:
            tell("comparing with known mistakes")
            scripts.named = name(opened.subject, opened.executor, _all_answers(check, opened, finding))
        named = scripts.named or ()
    else:
        named = ()
    if not named:
        return finding
    ids = " and ".join(defect.id for defect in named)
    return finding.explained(defect=ids, advice=" ".join(defect.sentence for defect in named))


@dataclass
class _Kept:
    """Questions as they were put to an executor, with the answers."""

    executor: Executor
    evidence: list[tuple[Ask, Answer]] = field(default_factory=list)

    def put(self, asks: Sequence[Ask]) -> list[Answer]:
        answers = self.executor.put(asks)
        self.evidence += zip(asks, answers, strict=True)
        return answers

    def close(self) -> None:
        """The executor is its owner's."""


def _answers(check: Check, opened: Opened, finding: Finding) -> list[tuple[Ask, Answer]]:
    """What the check itself asks, for what shows only in the way it asks: compiled, or at a great length."""
    kept = _Kept(opened.executor)
    judge(check, opened.subject, [finding.case], kept, Known())
    if check.family == "mode" and kept.evidence:
        # In which modes it is right tells one mistake from another: exporting records gradients too.
        ask, _ = kept.evidence[0]
        own = {name: recipe for name, recipe in ask.inputs.items() if not name.startswith(BEFORE)}
        kept.put([replace(ask, inputs=own, scenario=mode, gradients=()) for mode in _MODES])
    return kept.evidence


def _all_answers(check: Check, opened: Opened, finding: Finding) -> list[tuple[Ask, Answer]]:
    """What the check asks, and the plain call at the same sizes, in the dtype of all other calls."""
    plain = opened.subject.ask(replace(finding.case, dtype=opened.subject.interface.dtype))
    answers = opened.executor.put([plain])
    return [*_answers(check, opened, finding), *zip([plain], answers, strict=True)]


def sized(
    check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell, scripts: Scripts
) -> Finding:
    """The finding with the sizes and options at which it shows, if few words say it."""
    cause = _CAUSES.get(check.family, "mathematics")
    if cause in scripts.sized or request.budget == "quick" or check.plans:
        return finding
    if check.most and finding.defect:
        # A label takes seconds to compile, and the mistake that was found says where it shows.
        return finding
    scripts.sized.add(cause)
    if finding.sizes:
        return finding
    tell("learning at which sizes it fails")
    asked, case = _plainest(check, opened, finding.case)
    budget = _SLOW_LABELS if check.most else _LABELS
    space = space_of(opened).reaching(case.sizes)
    told = _learned(asked, opened, case, space, request, budget)
    if told is not None or not space.options:
        return finding if told is None else finding.explained(sizes=told)
    # Options that hide a mistake make long formulas; under those of the case at hand few words may do.
    held = {option: case.names[option] for option in space.options}
    told = _learned(asked, opened, case, space.holding(held), request, budget)
    within = ", ".join(f"{option}={value}" for option, value in held.items())
    return finding if told is None else finding.explained(sizes=told, within=within)


def _learned(
    check: Check, opened: Opened, case: Case, space: Space, request: Request, budget: int
) -> str | None:
    """The predicate of a space where the check fails; None if few words do not say it."""
    learned = learn(
        lambda names: _label(check, opened, case, names), space, seed=request.seed or 0, budget=budget,
        known_failing=[{name: case.names[name] for name in space.names}],
    )  # fmt: skip
    predicate = learned.get(FAILS)
    return None if predicate is None else predicate.text


def _plainest(check: Check, opened: Opened, case: Case) -> tuple[Check, Case]:
    """What to ask at other sizes: plain values, if they are wrong too.

    A law has conditions of its own: that samples do not mix can be broken only where there are two.
    It may hide the future by itself, too.
    """
    plain = replace(case, dtype=opened.subject.interface.dtype)
    causal = [plain.with_options(causal=True)] if "causal" in space_of(opened).options else []
    for each in (plain, *causal):
        if _at(matches_the_reference, opened, each).findings:
            return matches_the_reference, each
    return check, case


def _at(check: Check, opened: Opened, case: Case) -> Verdict:
    return judge(check, opened.subject, [case], opened.executor, Known())


def space_of(opened: Opened) -> Space:
    """Sizes that one may choose, and options that the target takes, as far as the contract allows."""
    subject = opened.subject
    defaults = default_options(subject)
    rules = rules_of(subject, defaults)
    axes = {axis: (1, max(9, rules.base[axis])) for axis in rules.primary}
    free = {
        o.name: o.values for o in subject.mechanism.contract.options
        if o.name in subject.interface.takes and o.name not in subject.interface.fixed and o.name not in axes
    }  # fmt: skip

    def legal(names: Mapping[str, object]) -> bool:
        options = {**defaults, **{o: names[o] for o in free}}
        chosen = {axis: int(str(names[axis])) for axis in axes}
        complete = rules_of(subject, options).complete(chosen)  # type: ignore[arg-type]  # values of options
        return complete is not None and all(complete[axis] == size for axis, size in chosen.items())

    return Space(axes, free, legal)


def _label(check: Check, opened: Opened, case: Case, names: Mapping[str, object]) -> str:
    """How the target does at some sizes: "passes", or the kind of failure."""
    subject = opened.subject
    options = {**case.options, **{o: names[o] for o in case.options if o in names}}
    rules = rules_of(subject, options)  # type: ignore[arg-type]  # values of options
    sizes = rules.complete({axis: int(str(names[axis])) for axis in rules.primary if axis in names})
    if sizes is None:
        return PASSES
    verdict = _at(check, opened, replace(case, sizes=sizes, options=options))  # type: ignore[arg-type]  # values of options
    return verdict.findings[0].kind if verdict.findings else PASSES


def _reproduced(
    check: Check, opened: Opened, finding: Finding, request: Request, tell: Tell, scripts: Scripts
) -> Finding:
    """The finding with a script, if none of the same cause has one: laws come before what they explain."""
    cause = _CAUSES.get(check.family, "mathematics")
    # A script would hold the whole output against the reference, whose scores fit in no memory there.
    if cause in scripts.found or scripts.vain[cause] >= _TRIES or check.plans:
        return finding
    tell("writing a script that shows it")
    try:
        script = reproducer(check, opened, finding, request.target)
    except Exception as error:
        # A verdict stands without its script: what is wrong with the writer costs no more than that.
        tell(f"no script could be written: {type(error).__name__}: {error}")
        script = None
    if script is None:
        scripts.vain[cause] += 1
        return finding
    scripts.found.add(cause)
    return finding.explained(script=script)
