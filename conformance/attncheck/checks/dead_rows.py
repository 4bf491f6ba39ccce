"""Queries that may attend to nothing: what they get is a convention, and nobody else is to notice."""

from dataclasses import replace

from torch import Tensor

from attncheck.checks.check import Mismatch, NotJudged, Trial, both, check, needs_mask, needs_weights, raised
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked, possible
from attncheck.checks.oracle import expect
from attncheck.checks.order import not_always_causal
from attncheck.model.case import Case
from attncheck.strategies.tolerance import RIGHT, ROUNDOFF, difference
from attncheck.targets.ask import Answer, Ask
from attncheck.targets.subject import Subject


def hides_single_queries(subject: Subject) -> bool:
    """Whether a mask can hide every key from one query of a sample; padding and lengths hide them from all."""
    name = subject.masking
    if name is None or subject.optional[name].kind != "bool":
        return False
    return possible(subject, "dead_row_mask") == "dead_row_mask"


def dead_row_ask(subject: Subject, case: Case) -> Ask:
    """A question in which nothing may be attended to by query 0 of every sample, or by sample 0."""
    if hides_single_queries(subject):
        return subject.ask(masked(subject, case, "dead_row_mask"))
    return _with_a_dead_sample(subject, case)


def _with_a_dead_sample(subject: Subject, case: Case) -> Ask:
    name = str(subject.masking)
    return subject.ask(masked(subject, case, "padding_mask")).edit(name, "put", 0, (0, 0.0))


def _dead(subject: Subject, out: Tensor) -> Tensor:
    """The part of an output that belongs to those who may attend to nothing."""
    return out.select((subject.output_axis("q_len") or 1) if hides_single_queries(subject) else 0, 0)


def dead_row_option(subject: Subject, ask: Ask, answer: Answer) -> str | None:
    """What those got who may attend to nothing: "zeros", "nan", "mean_of_the_values", or None for anything else."""
    expected = expect(subject, ask).out
    if answer.out.shape != expected.shape:
        return None
    row, allowed = _dead(subject, answer.out), max(RIGHT, 64 * ROUNDOFF[answer.out.dtype])
    if bool(row.isnan().all()):
        return "nan"
    if difference(row, _dead(subject, expected)).gap <= allowed:
        return "zeros"
    even = _uniform(subject, ask)
    if even is not None and difference(row, _dead(subject, expect(subject, even).out)).gap <= allowed:
        return "mean_of_the_values"
    return None


def _uniform(subject: Subject, ask: Ask) -> Ask | None:
    """The question without its mask and with equal scores, all of them 0, if they can be set: every value weighs the same."""
    plain = ask.without(str(subject.masking))
    projected = [n for n in plain.parameters if n.startswith("key.")]
    alone = subject.playing(("k", "keys", "scores")) or subject.playing(("q", "queries"))
    if not (projected or alone):
        return None
    for name in projected or alone:
        plain = plain.edit(name, "zero")
    return replace(plain, options={**plain.options, "causal": False})


@check(
    "law",
    "a fully masked row gives zeros, NaN or the mean",
    applies=both(needs_mask, needs_weights),
    judges_trouble=True,
    share=0.3,
    rank=18,
)
def treats_dead_rows_by_a_convention(subject: Subject, case: Case) -> Trial:
    """A query that may attend to nothing gets one of the three answers that serious libraries give."""
    if case.sizes["kv_len"] < 2 or case.sizes.get("q_len", 1) < 1 or case.sizes["batch"] < 1:
        return NotJudged("there are too few keys to tell")
    ask = dead_row_ask(subject, case)
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return refused(subject, answer)
    if answer.out.shape != expect(subject, ask).out.shape:
        return NotJudged("the output has another shape")
    if dead_row_option(subject, ask, answer) is not None:
        return None
    if "float32" in subject.dtypes and case.dtype == "float64":
        # -1e9 swallows the scores that it is added to, but for the digits of float64.
        coarse = dead_row_ask(subject, replace(case, dtype="float32"))
        (again,) = yield [coarse]
        if again.trouble is None and dead_row_option(subject, coarse, again) is not None:
            return None
    if _uniform(subject, ask) is None:
        return NotJudged("queries and keys are not handed over apart from the values")
    row = _dead(subject, answer.out)
    return Mismatch("zeros, NaN or the mean of the values", f"{row.flatten()[:3].tolist()} …")


def refused(subject: Subject, answer: Answer) -> Mismatch | NotJudged:
    """A length of 0 may be refused; a mask that a call takes for some queries must be taken for all."""
    trouble = answer.trouble
    assert trouble is not None, "an answer without trouble is judged"
    if trouble.stage == "constructor":
        return NotJudged(f"the constructor refuses these sizes: {trouble}")
    if hides_single_queries(subject):
        return raised(trouble)
    return NotJudged(f"a sample without keys is refused: {trouble}")


@check(
    "value",
    "a fully masked row leaves the others alone",
    # With the future hidden as well, a random mask leaves other rows without a key.
    applies=both(needs_mask, needs_weights, not_always_causal),
    judges_trouble=True,
    share=0.3,
    rank=43,
)
def dead_rows_spare_the_others(subject: Subject, case: Case) -> Trial:
    """One query that may attend to nothing changes no other query, of its sample or another."""
    if case.sizes["kv_len"] < 1 or case.sizes.get("q_len", 1) < 1 or case.sizes["batch"] < 1:
        return NotJudged("there is no row")
    single = hides_single_queries(subject)
    ask = (
        subject.ask(masked(subject, case, "one_dead_row_mask"))
        if single
        else _with_a_dead_sample(subject, case)
    )
    (answer,) = yield [ask]
    if answer.trouble is not None:
        return refused(subject, answer)
    expected = expect(subject, ask).out
    if answer.out.shape != expected.shape:
        return NotJudged("the output has another shape")
    actual, expected = answer.out.clone(), expected.clone()
    # A mask that all samples share hides the row in each of them.
    shared = subject.position(ask, str(subject.masking), "batch") is None
    for tensor in (actual, expected):
        samples = tensor if shared or not single else tensor[:1]
        _dead(subject, samples).zero_()
    return agree(actual, expected, "the rows beside a dead one")


CHECKS = (treats_dead_rows_by_a_convention, dead_rows_spare_the_others)
