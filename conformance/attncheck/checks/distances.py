"""Laws of scores that are no products, and of weights that are the answer."""

from torch import Tensor, arange

from attncheck.checks.check import Mismatch, NotJudged, Trial, both, check, needs_law, needs_mask, raised
from attncheck.checks.comparing import agree
from attncheck.checks.gates import at_least
from attncheck.checks.layers import lacks, on_layers
from attncheck.checks.masking import masked
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject

# What a function raises that looks at what it was handed.
_REFUSALS = ("ValueError", "AssertionError")


@check("law", "out lies between the visible values", applies=needs_law("stays_within_values"), rank=24)
def stays_within_values(subject: Subject, case: Case) -> Trial:
    """An average is neither below the least nor above the largest of what it averages."""
    law = subject.law("stays_within_values", case)
    names = subject.playing(law.inputs)
    if not names:
        return NotJudged("the values are not handed over alone")
    ask = subject.ask(masked(subject, case))
    values = make(ask.inputs[names[0]])
    place = subject.position(ask, names[0], "kv_len")
    if place is None or not values.shape[place]:
        return NotJudged("there is no value")
    # Values of rank 3 stand behind queries that share them, others belong to one query each.
    values = values.movedim(place, -1).unsqueeze(1) if values.dim() == 3 else values.movedim(place, -1)
    hidden = _hidden(subject, ask, case)
    low, high = values, values
    if hidden is not None:
        low, high = values.masked_fill(hidden, float("inf")), values.masked_fill(hidden, -float("inf"))
    (answer,) = yield [ask]
    shape = answer.out.shape
    return at_least(answer.out, low.amin(-1).expand(shape), "no output below all visible values") or at_least(
        -answer.out, -high.amax(-1).expand(shape), "no output above all visible values"
    )


def _hidden(subject: Subject, ask: Ask, case: Case) -> Tensor | None:
    """True where a length hides a key: one row for every query, or one for all queries of a sample."""
    recipe = ask.inputs.get(subject.masking or "")
    if recipe is None or recipe.kind != "lengths":
        return None
    lengths = make(recipe)
    per_query = lengths if lengths.dim() == 2 else lengths[:, None]
    return arange(case.sizes["kv_len"]) >= per_query[:, :, None, None]


@check("law", "scores + c give what scores give", applies=needs_law("ignores_shifted_scores"), rank=28)
def ignores_shifted_scores(subject: Subject, case: Case) -> Trial:
    """The same number added to a row of scores changes nothing."""
    law = subject.law("ignores_shifted_scores", case)
    ask = subject.ask(masked(subject, case))
    (name,) = law.inputs
    before, after = yield [
        ask,
        ask.edit(name, "shift", subject.position(ask, name, law.axes[0]), case.seed + 3),
    ]
    return agree(after.out, before.out, "the weights for shifted scores")


@check(
    "law",
    "weights past the length are exactly zero",
    applies=both(needs_law("masked_weights_are_zero"), needs_mask),
    rank=12,
)
def masked_weights_are_zero(subject: Subject, case: Case) -> Trial:
    """Not nearly zero: a key that is not there has no weight at all."""
    ask = subject.ask(masked(subject, case, "random_mask" if case.seed % 2 else "padding_mask"))
    hidden = _hidden(subject, ask, case)
    if hidden is None or not bool(hidden.any()):
        return NotJudged("no key is hidden")
    (answer,) = yield [ask]
    beyond = answer.out[hidden.squeeze(2).expand(answer.out.shape)]
    if bool((beyond == 0).all()):
        return None
    return Mismatch(
        "weights of exactly 0 past the length", f"{float(beyond.abs().max()):.3g}", float(beyond.abs().max())
    )


@check(
    "law",
    "negating all of it changes nothing",
    applies=needs_law("ignores_joint_sign"),
    judges_trouble=True,
    rank=28,
)
def ignores_joint_sign(subject: Subject, case: Case) -> Trial:
    """Signs that meet in pairs, or in a square, cancel."""
    law = subject.law("ignores_joint_sign", case)
    ask = subject.ask(masked(subject, case))
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    other = on_layers(subject, ask, law.parameters, "scale", -1.0)
    for name in _together(subject, law.inputs):
        other = other.edit(name, "scale", None, -1.0)
    if other == ask:
        return NotJudged("the inputs are not handed over apart from others")
    before, after = yield [ask, other]
    if before.trouble is not None:
        return NotJudged(f"the call raises, which another check reports: {before.trouble}")
    if after.trouble is not None and law.parameters and after.trouble.kind in _REFUSALS:
        return NotJudged(f"a negative width is refused: {after.trouble}")
    if after.trouble is not None:
        return raised(after.trouble)
    return agree(after.out, before.out, "the output after negating all of it")


@check(
    "law",
    "moving queries and keys together changes nothing",
    applies=needs_law("ignores_joint_shift"),
    rank=28,
)
def ignores_joint_shift(subject: Subject, case: Case) -> Trial:
    """Only the distances of queries and keys count."""
    law = subject.law("ignores_joint_shift", case)
    ask = subject.ask(masked(subject, case))
    names = _together(subject, law.inputs)
    if not names:
        return NotJudged("queries and keys are not handed over apart from others")
    other = ask
    for name in names:
        other = other.edit(name, "add", None, 0.75)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output after moving queries and keys together")


@check("law", "distances·c and width·c cancel", applies=needs_law("inverse_width_scales_distance"), rank=28)
def inverse_width_scales_distance(subject: Subject, case: Case) -> Trial:
    """Twice the distances at half the inverse width are the same scores."""
    law = subject.law("inverse_width_scales_distance", case)
    ask = subject.ask(masked(subject, case))
    names = _together(subject, law.inputs)
    missing = lacks(subject, ask, law.parameters)
    if missing or not names:
        return missing or NotJudged("queries and keys are not handed over apart from others")
    other = on_layers(subject, ask, law.parameters, "scale", 0.5)
    for name in names:
        other = other.edit(name, "scale", None, 2.0)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output for twice the distances at half the inverse width")


def _together(subject: Subject, roles: tuple[str, ...]) -> list[str]:
    """The inputs that play these roles and no other, if they play all of them."""
    names = subject.playing(roles)
    played = {role for name in names for role in subject.interface.inputs[name]}
    return names if played == set(roles) else []


CHECKS = (
    stays_within_values,
    ignores_shifted_scores,
    masked_weights_are_zero,
    ignores_joint_sign,
    ignores_joint_shift,
    inverse_width_scales_distance,
)
