"""Laws of even weights in images: constant maps, and keys of zero, give plain averages."""

from dataclasses import replace

from torch import Tensor, einsum

from attncheck.checks.check import NotJudged, Trial, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, on_layers, renewed
from attncheck.checks.pixels import positions
from attncheck.model.case import Case
from attncheck.model.recipe import Recipe
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


@check(
    "law",
    "a constant image gives uniform weights",
    applies=needs_law("constant_image_gives_uniform_weights"),
    options="all",
    rank=39,
)
def constant_image_gives_uniform_weights(subject: Subject, case: Case) -> Trial:
    """Pixels that are all alike weigh the same, so other queries and keys read the same from them."""
    law = subject.law("constant_image_gives_uniform_weights", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    found = positions(subject, ask, law.axes)
    if missing or found is None:
        return missing or NotJudged("no input has height and width")
    # What is neither query nor key, as a table of positions, would tell the pixels apart.
    ask = on_layers(subject, _constant(ask, found), law.parameters[2:], "zero")
    if "weights" in subject.interface.gives and "need_weights" in subject.interface.takes:
        ask = replace(ask, options={**ask.options, "need_weights": True})
    before, after = yield [ask, renewed(subject, ask, law.parameters[:2], case.seed + 23)]
    weights = before.tensors.get("weights")
    if weights is not None and weights.numel():
        judgement = agree(weights, weights * 0 + 1 / weights.shape[-1], "the weights of a constant image")
        if judgement:
            return judgement
    return agree(after.out, before.out, "the output for other queries and keys")


def _constant(ask: Ask, found: tuple[str, list[tuple[str, int]]]) -> Ask:
    name, places = found
    for _, place in places:
        ask = ask.edit(name, "mean", place)
    return ask


@check(
    "law",
    "keys of zero add the mean of the values",
    applies=needs_law("zero_key_adds_the_mean"),
    options="all",
    rank=39,
)
def zero_key_adds_the_mean(subject: Subject, case: Case) -> Trial:
    """With even weights, what is added to the skip is the same everywhere, and that of the mean."""
    law = subject.law("zero_key_adds_the_mean", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    ask = on_layers(subject, ask, law.parameters[:1], "zero")
    if not law.inputs:
        return (yield from _mean_channel(subject, ask))
    found = positions(subject, ask, law.axes)
    if found is None:
        return NotJudged("no input has positions")
    constant = _constant(ask, found)
    plain, mean = yield [ask, constant]
    added = mean.out - make(constant.inputs[found[0]])
    return agree(plain.out - make(ask.inputs[found[0]]), added, "what is added to the input")


def _mean_channel(subject: Subject, ask: Ask) -> Trial:
    """Channels that read all channels evenly may as well read the mean channel from each."""
    if lacks(subject, ask, ("value",)):
        return NotJudged("the target has no value")
    averaged = on_layers(subject, ask, ("value",), "mean", None, 0)
    plain, mean = yield [ask, averaged]
    return agree(plain.out, mean.out, "the output beside that for values of the mean channel")


@check(
    "law",
    "keys of zero give the mean of the cross",
    applies=needs_law("zero_key_gives_the_mean_of_the_cross"),
    options="all",
    rank=39,
)
def zero_key_gives_the_mean_of_the_cross(subject: Subject, case: Case) -> Trial:
    """With even weights a pixel reads the mean over its row and column, itself counted once."""
    law = subject.law("zero_key_gives_the_mean_of_the_cross", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    key, value, gamma = law.parameters
    (answer,) = yield [on_layers(subject, ask, (key,), "zero")]
    x = make(ask.inputs[law.inputs[0]])
    v = _projected(ask, value, x)
    cross = v.sum(2, keepdim=True) + v.sum(3, keepdim=True) - v
    read = cross / (x.shape[2] + x.shape[3] - 1)
    return agree(
        answer.out, make(ask.parameters[gamma]) * read + x, "x and gamma times the mean of each cross"
    )


@check(
    "law",
    "without keys and positions the mean pixel is pooled",
    applies=needs_law("zero_key_and_position_pool_the_mean"),
    rank=39,
)
def zero_key_and_position_pool_the_mean(subject: Subject, case: Case) -> Trial:
    """With even weights the answer is the mean pixel, through the value and output projections."""
    law = subject.law("zero_key_and_position_pool_the_mean", case)
    ask = subject.ask(case)
    key, position, value, output = law.parameters
    missing = lacks(subject, ask, (key, position))
    if missing:
        return missing
    (answer,) = yield [on_layers(subject, ask, (key, position), "zero")]
    mean = make(ask.inputs[law.inputs[0]]).mean((2, 3))
    return agree(
        answer.out, _projected(ask, output, _projected(ask, value, mean)), "the projected mean of the pixels"
    )


def _projected(ask: Ask, layer: str, x: Tensor) -> Tensor:
    """The layer's matrix applied to axis 1, as the reference's parameters are; an absent bias is zero."""
    weight = make(ask.parameters[f"{layer}.weight"]).flatten(1)
    bias: Recipe | None = ask.parameters.get(f"{layer}.bias")
    out = einsum("oc,bc...->bo...", weight, x)
    return out if bias is None else out + make(bias).reshape(-1, *[1] * (x.dim() - 2))


CHECKS = (
    constant_image_gives_uniform_weights,
    zero_key_adds_the_mean,
    zero_key_gives_the_mean_of_the_cross,
    zero_key_and_position_pool_the_mean,
)
