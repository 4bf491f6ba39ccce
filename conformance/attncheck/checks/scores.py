"""Laws of scores and averages: what a softmax over keys must do to keys and values."""

from attncheck.checks.check import Applies, NotJudged, Trial, both, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, on_layers, renewed
from attncheck.checks.masking import keyed, masked
from attncheck.checks.order import not_always_causal
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def _law(name: str, *conditions: Applies) -> Applies:
    return both(needs_law(name), *conditions)


def _values_stand_alone(subject: Subject) -> str | None:
    laws = subject.laws("weights_sum_to_one")
    if any(law.parameters or not law.inputs or subject.playing(law.inputs) for law in laws):
        return None
    return "the values are not handed over alone"


@check(
    "law",
    "the weights of a query sum to one",
    applies=_law("weights_sum_to_one", _values_stand_alone),
    rank=24,
)
def weights_sum_to_one(subject: Subject, case: Case) -> Trial:
    """Values of one give an output of one, with and without a mask; weights that are the output add up."""
    law = subject.law("weights_sum_to_one", case)
    ask = subject.ask(masked(subject, case))
    if law.parameters:
        return (yield from _reads_the_bias(subject, ask, law.inputs[0], law.parameters[0]))
    if not law.inputs:
        (answer,) = yield [ask]
        sums = answer.out.sum(-1)
        return agree(sums, sums * 0 + 1, "the sum of the weights")
    (name, *_) = subject.playing(law.inputs)
    (answer,) = yield [ask.edit(name, "zero").edit(name, "add", None, 1.0)]
    return agree(answer.out, answer.out * 0 + 1, "the output for values of one")


def _reads_the_bias(subject: Subject, ask: Ask, image: str, values: str) -> Trial:
    """Values that are all the bias are read as the bias, whatever the weights."""
    names = (f"{values}.weight", f"{values}.bias", "gamma")
    missing = lacks(subject, ask, names)
    if missing:
        return missing
    (answer,) = yield [on_layers(subject, ask, names[:1], "zero")]
    bias, gamma = (make(ask.parameters[name]) for name in names[1:])
    expected = make(ask.inputs[image]) + (gamma * bias)[:, None, None]
    return agree(answer.out, expected, "the output for values that are all one vector")


@check(
    "law",
    "keys of zero give the mean of the values",
    applies=_law("zero_key_gives_the_mean", not_always_causal),
    rank=25,
)
def zero_key_gives_the_mean(subject: Subject, case: Case) -> Trial:
    """When all keys are zero every value weighs the same, so all may as well be their mean."""
    law = subject.law("zero_key_gives_the_mean", case)
    ask = subject.ask(case)
    if law.parameters:
        missing = lacks(subject, ask, law.parameters)
        if missing:
            return missing
        return (
            yield from _even(subject, on_layers(subject, ask, law.parameters, "zero"), law.axes, law.inputs)
        )
    keys = subject.playing(law.inputs[:1])
    if not keys:
        return NotJudged("the keys are not handed over alone")
    for name in keys:
        ask = ask.edit(name, "zero")
    return (yield from _even(subject, ask, law.axes, law.inputs[1:]))


@check(
    "law", "scores of zero give the mean of the values", applies=_law("zero_scores_give_the_mean"), rank=25
)
def zero_scores_give_the_mean(subject: Subject, case: Case) -> Trial:
    """When what makes the scores is zero every value weighs the same, so all may as well be their mean."""
    law = subject.law("zero_scores_give_the_mean", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    return (yield from _even(subject, on_layers(subject, ask, law.parameters, "zero"), law.axes, law.inputs))


def _even(subject: Subject, ask: Ask, axes: tuple[str, ...], roles: tuple[str, ...]) -> Trial:
    """The values, or whatever carries them, can be averaged along the axes of the keys."""
    averaged = ask
    for axis in axes:
        own = axis if subject.has(axis) else subject.ties.get(axis, axis)
        for name, place in subject.places(ask, own):
            played = subject.interface.inputs.get(name, ())
            if not roles or set(played) & set(roles):
                averaged = averaged.edit(name, "mean", place)
    if averaged == ask:
        return NotJudged("no input carries the values")
    plain, mean = yield [ask, averaged]
    return agree(plain.out, mean.out, "the output beside that for the mean of the values")


def _query_stands_alone(subject: Subject) -> str | None:
    laws = subject.laws("one_key_gives_its_value")
    if any(law.parameters or subject.playing(law.inputs) for law in laws):
        return None
    return "queries and values are one tensor here"


@check(
    "law",
    "one key gives its value, whatever is asked",
    applies=_law("one_key_gives_its_value", _query_stands_alone),
    rank=26,
)
def one_key_gives_its_value(subject: Subject, case: Case) -> Trial:
    """With a single key its weight is one, so neither the query nor the scores matter."""
    law = subject.law("one_key_gives_its_value", case)
    # Where queries are keys, one key means one query.
    case = case.with_sizes(**{a: 1 for axis in law.axes for a in (axis, subject.ties.get(axis, axis))})
    if any(case.options.get(axis, 1) != 1 for axis in ("height", "width")):
        return NotJudged("a window of several rows has several keys")
    ask = subject.ask(case)
    other = renewed(subject, ask, law.parameters, case.seed + 17)
    for name in subject.playing(law.inputs):
        other = other.edit(name, "renew", None, case.seed + 17)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output for another query")


@check("law", "q·c and k/c give what q and k give", applies=_law("ignores_opposite_rescaling"), rank=27)
def ignores_opposite_rescaling(subject: Subject, case: Case) -> Trial:
    """Logits are products of queries and keys, so a factor may move from one to the other."""
    law = subject.law("ignores_opposite_rescaling", case)
    ask = subject.ask(masked(subject, case))
    if law.parameters:
        missing = lacks(subject, ask, law.parameters)
        if missing:
            return missing
        other = on_layers(subject, ask, law.parameters[:1], "scale", 2.0)
        other = on_layers(subject, other, law.parameters[1:], "scale", 0.5)
    else:
        names = [subject.playing((role,)) for role in law.inputs]
        if not all(names):
            return NotJudged("queries and keys are not handed over apart")
        other = ask.edit(names[0][0], "scale", None, 2.0).edit(names[1][0], "scale", None, 0.5)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output after moving a factor from keys to queries")


@check("law", "k + c gives what k gives", applies=_law("ignores_shifted_keys"), rank=28)
def ignores_shifted_keys(subject: Subject, case: Case) -> Trial:
    """The same vector added to all keys shifts the logits of a query alike, which softmax ignores."""
    law = subject.law("ignores_shifted_keys", case)
    names = subject.playing(law.inputs)
    if not names:
        return NotJudged("the keys are not handed over alone")
    ask = subject.ask(keyed(subject, case))
    place = subject.position(ask, names[0], "kv_len")
    before, after = yield [ask, ask.edit(names[0], "shift", place, case.seed + 3)]
    return agree(after.out, before.out, "the output after shifting all keys")


@check("law", "the bias of the keys changes nothing", applies=_law("ignores_key_bias"), rank=29)
def ignores_key_bias(subject: Subject, case: Case) -> Trial:
    """A bias on the keys adds the same to all logits of a query, which softmax ignores."""
    law = subject.law("ignores_key_bias", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    before, after = yield [ask, renewed(subject, ask, law.parameters, case.seed + 29)]
    return agree(after.out, before.out, "the output for another key bias")


@check("law", "out is linear in the values", applies=_law("linear_in_values"), rank=30)
def linear_in_values(subject: Subject, case: Case) -> Trial:
    """The output moves along a line as the values do: f(c·v) - f(0) = c·(f(v) - f(0))."""
    law = subject.law("linear_in_values", case)
    ask = subject.ask(masked(subject, case))
    if law.parameters:
        missing = lacks(subject, ask, law.parameters)
        if missing:
            return missing
        return (yield from along_a_line(subject, ask, law.parameters))
    names = subject.playing(law.inputs)
    if not names:
        return NotJudged("the values are not handed over alone")
    return (yield from _on_a_line(ask.edit(names[0], "zero"), ask, ask.edit(names[0], "scale", None, -1.5)))


def along_a_line(subject: Subject, ask: Ask, layers: tuple[str, ...]) -> Trial:
    """The output is an affine function of these layers."""
    none = on_layers(subject, ask, layers, "zero")
    return (yield from _on_a_line(none, ask, on_layers(subject, ask, layers, "scale", -1.5)))


def _on_a_line(none: Ask, once: Ask, more: Ask) -> Trial:
    at_zero, at_one, at_more = yield [none, once, more]
    expected = at_zero.out - 1.5 * (at_one.out - at_zero.out)
    return agree(at_more.out, expected, "the output for values times -1.5")


CHECKS = (
    weights_sum_to_one,
    zero_key_gives_the_mean,
    zero_scores_give_the_mean,
    one_key_gives_its_value,
    ignores_opposite_rescaling,
    ignores_shifted_keys,
    ignores_key_bias,
    linear_in_values,
)
