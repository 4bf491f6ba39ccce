"""Where libraries differ: behaviour that is neither the law nor a listed option fails."""

from dataclasses import replace

import torch

from attncheck.checks.check import Mismatch, NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked, possible
from attncheck.checks.oracle import expect
from attncheck.model.case import Case
from attncheck.strategies.tolerance import RIGHT, difference
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.subject import Subject

# Options that exclude each other. Numbers to add or lengths are another form of mask, not another meaning.
_RIVALS = (
    frozenset({"true_attends", "true_ignores"}),
    frozenset({"batch_first", "sequence_first"}),
    frozenset({"heads_first", "length_first"}),
    frozenset({"channels_first", "channels_last", *(f"channels_at_{place}" for place in (2, 3))}),
)


def hides_whole_rows(subject: Subject) -> str | None:
    """Applies where some mask of the target leaves a query without a key."""
    if subject.masking is None:
        return "the target takes no mask"
    if (
        possible(subject, "dead_row_mask") != "dead_row_mask"
        or subject.optional[subject.masking].kind != "bool"
    ):
        return "no mask of the target can hide every key of one query"
    return None


def dead_row_ask(subject: Subject, case: Case) -> Ask:
    """A question in which query 0 of every sample and head may attend to nothing."""
    return subject.ask(masked(subject, case, "dead_row_mask"))


def dead_row_option(subject: Subject, ask: Ask, answer: Answer) -> str | None:
    """What the first query got: "zeros", "nan", "mean_of_the_values", or None for anything else."""
    place = subject.output_axis("q_len") or 1
    if answer.out.shape != expect(subject, ask).out.shape:
        return None
    row = answer.out.select(place, 0)
    if bool(row.isnan().all()):
        return "nan"
    if difference(row, expect(subject, ask).out.select(place, 0)).gap <= RIGHT:
        return "zeros"
    if difference(row, expect(subject, _uniform(subject, ask)).out.select(place, 0)).gap <= RIGHT:
        return "mean_of_the_values"
    return None


def _uniform(subject: Subject, ask: Ask) -> Ask:
    """The question without its mask and with keys of zero: every value weighs the same."""
    plain = ask.without(str(subject.masking))
    for name in plain.parameters:
        if name.startswith("key."):
            plain = plain.edit(name, "zero")
    for name in () if any(n.startswith("key.") for n in plain.parameters) else subject.playing(("k", "keys")):
        plain = plain.edit(name, "zero")
    return replace(plain, options={**plain.options, "causal": False})


@check(
    "law",
    "a fully masked row gives zeros, NaN or the mean",
    applies=both(hides_whole_rows, needs_weights),
    share=0.3,
    rank=18,
)
def treats_dead_rows_by_a_convention(subject: Subject, case: Case) -> Trial:
    """A query that may attend to nothing gets one of the three answers that serious libraries give."""
    if case.sizes["kv_len"] < 2 or case.sizes["q_len"] < 1:
        return NotJudged("there are too few keys to tell")
    ask = dead_row_ask(subject, case)
    (answer,) = yield [ask]
    if answer.out.shape != expect(subject, ask).out.shape:
        return NotJudged("the output has another shape")
    if dead_row_option(subject, ask, answer) is not None:
        return None
    row = answer.out.select(subject.output_axis("q_len") or 1, 0)
    return Mismatch("zeros, NaN or the mean of the values", f"{row.flatten()[:3].tolist()} …")


@check(
    "value",
    "a fully masked row leaves the others alone",
    applies=both(hides_whole_rows, needs_weights),
    share=0.3,
    rank=43,
)
def dead_rows_spare_the_others(subject: Subject, case: Case) -> Trial:
    """One query that may attend to nothing changes no other query, of its sample or another."""
    if case.sizes["kv_len"] < 1 or case.sizes["q_len"] < 1:
        return NotJudged("there is no row")
    ask = subject.ask(masked(subject, case, "one_dead_row_mask"))
    (answer,) = yield [ask]
    expected = expect(subject, ask).out
    if answer.out.shape != expected.shape:
        return NotJudged("the output has another shape")
    place = subject.output_axis("q_len") or 1
    actual, expected = answer.out.clone(), expected.clone()
    # A mask that all samples share hides the row in each of them.
    shared = subject.position(ask, str(subject.masking), "batch") is None
    for tensor in (actual, expected):
        samples = tensor if shared else tensor[:1]
        samples.select(place, 0).zero_()
    return agree(actual, expected, "the rows beside a dead one")


def _second_inputs(subject: Subject) -> list[str]:
    """Inputs after the first that have a batch axis of their own."""
    return [n for n in list(subject.inputs)[1:] if "batch" in subject.inputs[n].axes]


def _has_two_inputs(subject: Subject) -> str | None:
    return None if _second_inputs(subject) else "the target takes one tensor"


@check("law", "samples are never regrouped", applies=_has_two_inputs, judges_trouble=True, share=0.3, rank=19)
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


CHECKS = (
    treats_dead_rows_by_a_convention,
    dead_rows_spare_the_others,
    never_regroups_samples,
    contradicts_its_documentation,
)
