"""Dropout: absent in eval mode, present in training, and right on average."""

from dataclasses import replace

from attncheck.checks.check import Applies, Mismatch, NotJudged, Trial, both, check
from attncheck.checks.comparing import agree
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

_RATE = 0.5
# Copies of one sample whose mean is compared: enough for a standard error of some percent.
_COPIES = 3000
# Standard errors that a mean may be off: by chance it is so once in some hundred million entries.
_SIGMAS = 6.5


def takes_dropout(subject: Subject) -> str | None:
    """Applies to targets with a dropout rate that can be chosen."""
    return None if "dropout" in subject.interface.takes else "the target has no dropout"


def _is_module(subject: Subject) -> str | None:
    return None if subject.interface.is_module else "a function cannot know that it is evaluated"


def _dropping(subject: Subject, case: Case) -> Ask:
    return subject.ask(case.with_options(dropout=_RATE))


def _has_no_norm(subject: Subject) -> str | None:
    if any(law.only_eval for law in subject.mechanism.contract.laws):
        return "batch norm sees the whole batch in training"
    return "a norm of the output bends its mean" if "out" in subject.normed else None


def law(*conditions: Applies) -> Applies:
    """Dropout that can be chosen, and further conditions."""
    return both(takes_dropout, *conditions)


@check("mode", "eval mode drops nothing", applies=law(_is_module), share=0.3, rank=84)
def drops_nothing_in_eval_mode(subject: Subject, case: Case) -> Trial:
    """In eval mode the output is the one without dropout, whatever the rate."""
    without, dropped = yield [subject.ask(case), _dropping(subject, case)]
    return agree(dropped.out, without.out, f"the output in eval mode with dropout {_RATE}", tolerance=1e-9)


@check("mode", "training drops something", applies=law(), share=0.15, rank=85)
def drops_something_in_training(subject: Subject, case: Case) -> Trial:
    """With dropout one half, two calls in training differ: the rate is not ignored."""
    if any(
        case.sizes.get(axis, 9) < 4
        for axis in ("q_len", "kv_len", "tokens", "model_dim", "head_dim", "v_dim")
    ):
        return NotJudged("so small an output may be left whole by chance")
    if subject.goes("output.weight", case.names):
        return NotJudged("what drops may go with the output layer, which is left out at these sizes")
    ask = replace(_dropping(subject, case), train=True, scenario="reseeded")
    (answer,) = yield [ask]
    if agree(answer.tensors["again"], answer.out, tolerance=1e-9) is not None:
        return None
    return Mismatch("two different outputs under two seeds", "the same output", kind="ignores dropout")


@check("mode", "dropout leaves the mean where it was", applies=law(_has_no_norm), share=0.02, rank=86)
def dropout_keeps_the_mean(subject: Subject, case: Case) -> Trial:
    """What is kept is scaled up, after the softmax: the mean over many calls is the output without."""
    if case.sizes.get("kv_len", case.sizes.get("tokens", 0)) < 2:
        return NotJudged("a single key hides where dropout stands")
    one = subject.along(subject.ask(case), "batch", "take", 0)
    many = subject.along(_dropping(subject, case), "batch", "take", 0)
    many = replace(subject.along(many, "batch", "repeat", _COPIES), train=True)
    without, dropped = yield [one, many]
    if dropped.out.shape[:1] != (_COPIES,):
        return NotJudged("the output has another shape")
    mean, spread = dropped.out.mean(0), dropped.out.std(0)
    allowed = _SIGMAS * spread / _COPIES**0.5 + 1e-6 * float(without.out.abs().max())
    excess = ((mean - without.out[0]).abs() / allowed).max()
    if float(excess) <= 1.0:
        return None
    return Mismatch(
        f"a mean over {_COPIES} calls within {_SIGMAS} standard errors of the output without dropout",
        f"{float(excess) * _SIGMAS:.3g} standard errors away",
        kind="shifts the mean",
    )


def _values_are_averaged(subject: Subject) -> str | None:
    if any("v_dim" in shape.axes for shape in subject.inputs.values()):
        return None
    return "the features of a value are mixed after dropout"


@check(
    "mode", "dropout hides whole keys", applies=law(_values_are_averaged, _has_no_norm), share=0.15, rank=86
)
def drops_whole_keys(subject: Subject, case: Case) -> Trial:
    """Dropout falls on weights: values with equal features give outputs with equal features."""
    if case.sizes["v_dim"] < 2:
        return NotJudged("a single feature equals itself")
    ask = replace(subject.along(_dropping(subject, case), "v_dim", "mean"), train=True)
    (answer,) = yield [ask]
    equal = answer.out.mean(-1, keepdim=True).expand(answer.out.shape)
    return agree(answer.out, equal, "the output for values with equal features, in training with dropout")


CHECKS = (drops_nothing_in_eval_mode, drops_something_in_training, dropout_keeps_the_mean, drops_whole_keys)
