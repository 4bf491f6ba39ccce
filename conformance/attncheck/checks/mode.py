"""Modes that must not change the value: training without dropout, recording gradients, flags."""

from dataclasses import replace

from attncheck.checks.check import Mismatch, NotJudged, Trial, both, check, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.checks.oracle import performed
from attncheck.model.case import Case
from attncheck.targets.subject import Subject


def _trains_alike(subject: Subject) -> str | None:
    return "batch norm sees the whole batch in training" if subject.norms_batches else None


@check("mode", "training without dropout gives what eval gives", applies=_trains_alike, share=0.4, rank=80)
def trains_as_it_evaluates(subject: Subject, case: Case) -> Trial:
    """With dropout 0, train and eval mode give the same values."""
    ask = subject.ask(masked(subject, case))
    evaluated, trained = yield [ask, replace(ask, train=True)]
    return agree(trained.out, evaluated.out, "the output in training mode")


def _norms_batches(subject: Subject) -> str | None:
    return None if subject.norms_batches else "the target norms no batches"


@check(
    "mode", "training moves the statistics", applies=both(needs_weights, _norms_batches), share=0.2, rank=80,
    asks="torch",
)  # fmt: skip
def training_moves_the_statistics(subject: Subject, case: Case) -> Trial:
    """After a call in training mode eval mode answers otherwise: batch norm has seen the batch. By how much is not asked."""
    if case.sizes["batch"] == 1:
        return NotJudged("batch norm learns nothing from one sample")
    ask = replace(subject.ask(case), scenario="trained")
    (answer,) = yield [ask]
    moved = performed(subject, ask).tensors
    if agree(moved["again"], moved["out"]) is None:
        return NotJudged("the reference's own answer does not move")
    if agree(answer.tensors["again"], answer.out, tolerance=1e-9) is not None:
        return None
    return Mismatch("another answer after a call in training mode", "the same", kind="keeps its statistics")


def _keeps_nothing(subject: Subject) -> str | None:
    if not subject.interface.is_module:
        return "a function has no modes"
    return "batch norm learns from what it sees in training" if subject.norms_batches else None


@check(
    "mode", "training leaves eval as it was", applies=both(needs_weights, _keeps_nothing), share=0.2, rank=80,
    asks="torch",
)  # fmt: skip
def training_leaves_eval_alone(subject: Subject, case: Case) -> Trial:
    """After a call in training mode, eval mode answers as before: nothing that was seen is kept."""
    (answer,) = yield [replace(subject.ask(masked(subject, case)), scenario="trained")]
    return agree(answer.tensors["again"], answer.out, "the output after a call in training mode")


@check("mode", "recording gradients does not change the value", share=0.4, rank=81, asks="gradients")
def same_with_gradients(subject: Subject, case: Case) -> Trial:
    """The path with gradients and the path without agree."""
    ask = subject.ask(masked(subject, case))
    without, recorded = yield [ask, replace(ask, scenario="with_grad")]
    return agree(recorded.out, without.out, "the output while gradients are recorded")


@check("mode", "inference mode gives the same value", share=0.2, rank=82, asks="torch")
def same_in_inference_mode(subject: Subject, case: Case) -> Trial:
    """torch.inference_mode changes nothing but the bookkeeping."""
    ask = subject.ask(masked(subject, case))
    plain, inference = yield [ask, replace(ask, scenario="inference")]
    return agree(inference.out, plain.out, "the output in inference mode")


def _weights_on_demand(subject: Subject) -> str | None:
    if "need_weights" in subject.interface.takes:
        return None
    return "the target has no switch for its weights"


@check(
    "mode", "asking for weights does not change the output", applies=_weights_on_demand, share=0.4, rank=83
)
def same_with_weights(subject: Subject, case: Case) -> Trial:
    """The path that returns weights and the one that does not give one output."""
    causal = "causal" in subject.interface.takes and case.seed % 2 == 1
    ask = subject.ask(case.with_options(causal=True) if causal else masked(subject, case))
    without = replace(ask, options={**ask.options, "need_weights": False})
    asked = replace(ask, options={**ask.options, "need_weights": True})
    plain, weighted = yield [without, asked]
    return agree(weighted.out, plain.out, "the output beside its weights")


CHECKS = (
    trains_as_it_evaluates,
    training_moves_the_statistics,
    training_leaves_eval_alone,
    same_with_gradients,
    same_in_inference_mode,
    same_with_weights,
)
