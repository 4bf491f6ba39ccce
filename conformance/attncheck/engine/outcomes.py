"""What turns raw verdicts into those that count: expectations, and how certain the adapter is."""

from collections.abc import Mapping
from dataclasses import replace

from attncheck.checks.check import Check
from attncheck.engine.request import Request
from attncheck.engine.session import TargetTroubleError
from attncheck.model.case import Case
from attncheck.model.convention import CONVENTIONS
from attncheck.model.errors import UsageError
from attncheck.model.finding import Finding
from attncheck.model.nearest import did_you_mean
from attncheck.model.verdict import Verdict
from attncheck.targets.subject import Subject


def expected_conventions(request: Request, seen: Mapping[str, str]) -> list[Verdict]:
    """A verdict for every `--expect`. Raises UsageError for an unknown convention or option."""
    known = {c.id: c.options for c in CONVENTIONS}
    verdicts = []
    for name, option in request.expect.items():
        if name not in known:
            raise UsageError(
                f"unknown convention {name!r}{did_you_mean(name, known)} (attncheck list conventions)"
            )
        if option not in known[name]:
            raise UsageError(f"{name} has no option {option!r}; expected one of {', '.join(known[name])}")
        # A convention with several places is seen under several names: empty_batch, empty_kv_len, …
        stem = name.removesuffix("_axes")
        actual = sorted({value for key, value in seen.items() if key.startswith(stem)})
        verdicts.append(_expectation(name, option, actual))
    return verdicts


def _expectation(name: str, option: str, actual: list[str]) -> Verdict:
    check = f"expects_{name}"
    if not actual:
        return Verdict(check, "law", "skipped", reason=f"the target shows no {name}")
    if actual == [option]:
        return Verdict(check, "law", "passed", cases=1, planned=1)
    claim = f"{name} is {option}"
    finding = Finding(check, claim, option, " and ".join(actual), Case({}), kind="another convention")
    return Verdict(check, "law", "failed", cases=1, planned=1, findings=(finding,))


def certain(subject: Subject, check: Check, verdict: Verdict) -> Verdict:
    """A failure against the reference counts only if the weights are known to stand where they should."""
    if check.id == "matches_the_reference" and verdict.outcome == "skipped" and not subject.interface.loads:
        return replace(verdict, outcome="errored")
    if check.id == "matches_the_reference" and verdict.outcome == "passed" and subject.interface.unmatched:
        defaults = ", ".join(subject.interface.unmatched)
        reason = f"right, but at its default {defaults} its weights could not be matched with the reference's"
        return replace(verdict, outcome="errored", reason=reason)
    if verdict.outcome != "failed" or subject.interface.certainty != "guessed":
        return verdict
    through_weights = any(law.parameters for law in subject.laws(check.id))
    # Of the modes, autocast alone is held against the reference.
    if check.family in ("value", "gradient") or check.id == "autocast_runs" or through_weights:
        reason = (
            "which weight is which could only be guessed, so a difference from the reference says nothing"
        )
        return replace(verdict, outcome="errored", reason=reason, findings=())
    return verdict


def variant_verdict(subject: Subject, request: Request) -> list[Verdict]:
    """A verdict for a target that has settled on a documented variant: it deviates, or fails if strict."""
    fixed = subject.interface.fixed
    for variant in subject.mechanism.contract.variants:
        told = {name: value for name, value in variant.options.items() if name in fixed}
        if not told or any(fixed[name] != value for name, value in told.items()):
            continue
        reason = f"{variant.id}: {variant.meaning} ({variant.used_by})"
        if not request.strict:
            return [Verdict("is_the_form_of_the_paper", "value", "deviates", 1, 1, reason)]
        finding = Finding(
            "is_the_form_of_the_paper", "the target computes the paper's form", "the paper's form", reason, Case({}),
            kind="a variant",
        )  # fmt: skip
        return [Verdict("is_the_form_of_the_paper", "value", "failed", 1, 1, findings=(finding,))]
    return []


def import_trouble(error: TargetTroubleError) -> Verdict:
    """The finding that a target cannot even be imported or constructed."""
    trouble = error.trouble
    where = str((error.progress or {}).get("stage", trouble.stage))
    finding = Finding(
        "can_be_imported", "importing and constructing the target returns", "a class or function",
        f"{trouble} (while: {where})", Case({}), kind=f"raises {trouble.kind}",
    )  # fmt: skip
    return Verdict("can_be_imported", "shape", "failed", cases=1, planned=1, findings=(finding,))
