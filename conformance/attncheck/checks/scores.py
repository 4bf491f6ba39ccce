"""Laws of scores and averages: what a softmax over keys must do to keys and values."""

from attncheck.checks.check import Applies, NotJudged, Trial, both, check, needs_law, needs_weights
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked
from attncheck.checks.order import not_always_causal
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def _law(name: str, *conditions: Applies) -> Applies:
    return both(needs_law(name), *conditions)


def _weights_if_named(name: str) -> Applies:
    """Needs weight transport only where the contract states the law through parameters."""

    def applies(subject: Subject) -> str | None:
        law = subject.law(name)
        return needs_weights(subject) if law and law.parameters else None

    return applies


def _named(subject: Subject, ask: Ask, prefix: str) -> list[str]:
    """Parameters of one layer that the target has."""
    return [
        n for n in ask.parameters
        if (n == prefix or n.startswith(prefix + ".")) and n not in subject.interface.absent
    ]  # fmt: skip


def _on_parameters(subject: Subject, ask: Ask, prefix: str, op: str, argument: float | None = None) -> Ask:
    for name in _named(subject, ask, prefix):
        ask = ask.edit(name, op, None, argument)
    return ask


@check("law", "values of one give an output of one", applies=_law("weights_sum_to_one"), rank=24)
def weights_sum_to_one(subject: Subject, case: Case) -> Trial:
    """The weights of every query add up to one, with and without a mask."""
    ask = subject.ask(masked(subject, case))
    (name,) = subject.playing(("v", "values")) or ("",)
    if not name:
        return NotJudged("the values are not handed over alone")
    ones = ask.edit(name, "zero").edit(name, "add", None, 1.0)
    (answer,) = yield [ones]
    return agree(answer.out, answer.out * 0 + 1, "the output for values of one")


@check("law", "keys of zero give the mean of the values", applies=_law("zero_key_gives_the_mean", _weights_if_named("zero_key_gives_the_mean"), not_always_causal), rank=25)
def zero_key_gives_the_mean(subject: Subject, case: Case) -> Trial:
    """When all keys are zero every value weighs the same, so all may as well be their mean."""
    law = subject.law("zero_key_gives_the_mean")
    assert law is not None
    ask = subject.ask(case)
    for prefix in law.parameters:
        ask = _on_parameters(subject, ask, prefix, "zero")
    values = law.inputs if law.parameters else law.inputs[1:]
    for name in () if law.parameters else subject.playing(law.inputs[:1]):
        ask = ask.edit(name, "zero")
    axis = law.axes[0] if subject.has(law.axes[0]) else "q_len"
    carriers = [n for n, roles in subject.interface.inputs.items() if set(roles) & set(values)]
    averaged = ask
    for name, place in subject.places(ask, axis):
        if name in carriers:
            averaged = averaged.edit(name, "mean", place)
    plain, mean = yield [ask, averaged]
    return agree(plain.out, mean.out, "the output for keys of zero")


def _query_stands_alone(subject: Subject) -> str | None:
    law = subject.law("one_key_gives_its_value")
    if law is None or subject.playing(law.inputs):
        return None
    return "queries and values are one tensor here"


@check("law", "one key gives its value, whatever is asked", applies=_law("one_key_gives_its_value", _query_stands_alone), rank=26)
def one_key_gives_its_value(subject: Subject, case: Case) -> Trial:
    """With a single key its weight is one, so the query does not matter."""
    law = subject.law("one_key_gives_its_value")
    assert law is not None
    sizes = {a: 1 for a in law.axes} | {a: 1 for a, b in subject.ties.items() if b in law.axes}
    ask = subject.ask(case.with_sizes(**sizes))
    other = ask
    for name in subject.playing(law.inputs):
        other = other.edit(name, "renew", None, case.seed + 17)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output for another query")


@check("law", "q·c and k/c give what q and k give", applies=_law("ignores_opposite_rescaling", _weights_if_named("ignores_opposite_rescaling")), rank=27)
def ignores_opposite_rescaling(subject: Subject, case: Case) -> Trial:
    """Logits are products of queries and keys, so a factor may move from one to the other."""
    law = subject.law("ignores_opposite_rescaling")
    assert law is not None
    ask = subject.ask(masked(subject, case))
    if law.parameters:
        first, second = law.parameters
        other = _on_parameters(subject, ask, first, "scale", 2.0)
        other = _on_parameters(subject, other, second, "scale", 0.5)
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
    law = subject.law("ignores_shifted_keys")
    assert law is not None
    names = subject.playing(law.inputs)
    if not names:
        return NotJudged("the keys are not handed over alone")
    ask = subject.ask(masked(subject, case))
    place = subject.position(ask, names[0], "kv_len")
    before, after = yield [ask, ask.edit(names[0], "shift", place, case.seed + 3)]
    return agree(after.out, before.out, "the output after shifting all keys")


def _has_key_bias(subject: Subject) -> str | None:
    law = subject.law("ignores_key_bias")
    if law and set(law.parameters) <= set(subject.interface.absent):
        return "the target has no bias on its keys"
    return None


@check("law", "the bias of the keys changes nothing", applies=_law("ignores_key_bias", needs_weights, _has_key_bias), rank=29)
def ignores_key_bias(subject: Subject, case: Case) -> Trial:
    """A bias on the keys adds the same to all logits of a query, which softmax ignores."""
    law = subject.law("ignores_key_bias")
    assert law is not None
    ask = subject.ask(case)
    if not set(law.parameters) <= set(ask.parameters):
        return NotJudged("the reference has no bias with these options")
    other = ask
    for name in law.parameters:
        other = other.edit(name, "renew", None, case.seed + 29)
    before, after = yield [ask, other]
    return agree(after.out, before.out, "the output for another key bias")


@check("law", "out is linear in the values", applies=_law("linear_in_values", _weights_if_named("linear_in_values")), rank=30)
def linear_in_values(subject: Subject, case: Case) -> Trial:
    """The output moves along a line as the values do: f(c·v) - f(0) = c·(f(v) - f(0))."""
    law = subject.law("linear_in_values")
    assert law is not None
    ask = subject.ask(masked(subject, case))
    if law.parameters:
        none = _on_parameters(subject, ask, law.parameters[0], "zero")
        more = _on_parameters(subject, ask, law.parameters[0], "scale", -1.5)
    else:
        names = subject.playing(law.inputs)
        if not names:
            return NotJudged("the values are not handed over alone")
        none, more = ask.edit(names[0], "zero"), ask.edit(names[0], "scale", None, -1.5)
    at_zero, at_one, at_more = yield [none, ask, more]
    expected = at_zero.out - 1.5 * (at_one.out - at_zero.out)
    return agree(at_more.out, expected, "the output for values times -1.5")


CHECKS = (
    weights_sum_to_one,
    zero_key_gives_the_mean,
    one_key_gives_its_value,
    ignores_opposite_rescaling,
    ignores_shifted_keys,
    ignores_key_bias,
    linear_in_values,
)
