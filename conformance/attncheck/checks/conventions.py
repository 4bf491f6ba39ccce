"""Where libraries differ: behaviour that is neither the law nor a listed option fails."""

import torch

from attncheck.checks.check import Mismatch, NotJudged, Trial, check
from attncheck.model.case import Case
from attncheck.strategies.tolerance import RIGHT, difference
from attncheck.targets.subject import Subject

# Options that exclude each other. Numbers to add or lengths are another form of mask, not another meaning.
_RIVALS = (
    frozenset({"true_attends", "true_ignores"}),
    frozenset({"batch_first", "sequence_first"}),
    frozenset({"heads_first", "length_first"}),
    frozenset({"channels_first", "channels_last", *(f"channels_at_{place}" for place in (2, 3))}),
)


def _second_inputs(subject: Subject) -> list[str]:
    """Inputs after the first that have a batch axis of their own."""
    return [n for n in list(subject.inputs)[1:] if "batch" in subject.inputs[n].axes]


def _has_two_inputs(subject: Subject) -> str | None:
    return None if _second_inputs(subject) else "the target takes one tensor"


@check(
    "law",
    "samples are never regrouped",
    applies=_has_two_inputs,
    judges_trouble=True,
    share=0.3,
    rank=19,
    deviation="keys of another batch are dealt out among the samples, which no legal call does",
)
def never_regroups_samples(subject: Subject, case: Case) -> Trial:
    """Keys of one sample for queries of several are refused or shared by all, never dealt out."""
    if case.sizes["batch"] < 2:
        return NotJudged("batch is 1")
    plain = subject.ask(case)
    one, shared = plain, plain
    for name in _second_inputs(subject):
        place = subject.position(plain, name, "batch")
        assert place is not None, f"{name} has a batch axis"
        one = one.edit(name, "take", place, 0)
        shared = shared.edit(name, "take", place, 0).edit(name, "repeat", place, case.sizes["batch"])
    answer, broadcast = yield [one, shared]
    if answer.trouble is not None or broadcast.trouble is not None:
        return None
    if answer.out.shape == broadcast.out.shape and difference(answer.out, broadcast.out).gap <= RIGHT:
        return None
    if not bool(torch.isfinite(broadcast.out).all()):
        return NotJudged("the output is not finite")
    return Mismatch(
        f"an error, or the one sample for all {case.sizes['batch']}",
        f"an output of shape {tuple(answer.out.shape)} that is neither",
        kind="regroups",
    )


def _states_a_convention(subject: Subject) -> str | None:
    if subject.interface.documented:
        return None
    return "its names, docstrings and comments state no convention"


@check("law", "does what its documentation says", applies=_states_a_convention, share=0.02, rank=11)
def contradicts_its_documentation(subject: Subject, case: Case) -> Trial:
    """The option that explains the answers is the one that names, docstrings or comments state."""
    # The case was answered under what was found out; without an answer nothing was.
    yield [subject.ask(case)]
    found = subject.interface.conventions
    for convention, (stated, words) in subject.interface.documented.items():
        rivals = next((group for group in _RIVALS if stated in group), ())
        if found.get(convention) in rivals and found[convention] != stated:
            return Mismatch(
                f"{convention} {stated}, as it says itself: {words}",
                f"{found[convention]} alone explains its answers",
                kind="contradicts",
            )
    return None


CHECKS = (never_regroups_samples, contradicts_its_documentation)
