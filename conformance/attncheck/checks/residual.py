"""Laws of what is added to a skip: gamma, last layers of zero, and averages under even weights."""

from collections.abc import Callable

from torch import Tensor

from attncheck.checks.check import Trial, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.gates import at_least
from attncheck.checks.layers import lacks, on_layers, renewed
from attncheck.checks.scores import along_a_line
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.subject import Subject


@check(
    "law",
    "gamma of zero gives the input",
    applies=needs_law("zero_gamma_gives_the_input"),
    options="all",
    rank=38,
)
def zero_gamma_gives_the_input(subject: Subject, case: Case) -> Trial:
    """What attention reads counts for nothing, and the skip is the input itself."""
    return (yield from _without(subject, case, "zero_gamma_gives_the_input", lambda x: x))


@check(
    "law",
    "a last layer of zero gives the input",
    applies=needs_law("zero_output_gives_the_input"),
    options="all",
    rank=38,
)
def zero_output_gives_the_input(subject: Subject, case: Case) -> Trial:
    """The block is its skip, and the skip is the input itself."""
    return (yield from _without(subject, case, "zero_output_gives_the_input", lambda x: x))


@check(
    "law",
    "a norm of zero gives the rectified input",
    applies=needs_law("zero_norm_gives_the_rectified_input"),
    options="all",
    rank=38,
)
def zero_norm_gives_the_rectified_input(subject: Subject, case: Case) -> Trial:
    """The block is its skip, then the last relu."""
    return (yield from _without(subject, case, "zero_norm_gives_the_rectified_input", lambda x: x.relu()))


def _without(subject: Subject, case: Case, name: str, expected: Callable[[Tensor], Tensor]) -> Trial:
    law = subject.law(name, case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    (answer,) = yield [on_layers(subject, ask, law.parameters, "zero")]
    return agree(answer.out, expected(make(ask.inputs[law.inputs[0]])), "the output of the skip alone")


@check("law", "out is affine in gamma", applies=needs_law("affine_in_gamma"), options="all", rank=38)
def affine_in_gamma(subject: Subject, case: Case) -> Trial:
    """Gamma scales what is read and leaves the skip alone."""
    law = subject.law("affine_in_gamma", case)
    ask = subject.ask(case)
    return lacks(subject, ask, law.parameters) or (yield from along_a_line(subject, ask, law.parameters))


@check("law", "no output is negative", applies=needs_law("output_is_not_negative"), options="all", rank=38)
def output_is_not_negative(subject: Subject, case: Case) -> Trial:
    """The last step is a relu, or an average of what comes from one."""
    (answer,) = yield [subject.ask(case)]
    return at_least(answer.out, answer.out * 0, "no negative output")


@check(
    "law",
    "the rectified input is a lower bound",
    applies=needs_law("not_below_the_rectified_input"),
    options="all",
    rank=38,
)
def not_below_the_rectified_input(subject: Subject, case: Case) -> Trial:
    """What is added to an identity skip comes from a relu and a gate, so it is not negative."""
    law = subject.law("not_below_the_rectified_input", case)
    ask = subject.ask(case)
    (answer,) = yield [ask]
    return at_least(answer.out, make(ask.inputs[law.inputs[0]]).relu(), "at least the rectified input")


@check(
    "law",
    "a norm of zero ignores the gates",
    applies=needs_law("zero_norm_ignores_the_gates"),
    options="all",
    rank=38,
)
def zero_norm_ignores_the_gates(subject: Subject, case: Case) -> Trial:
    """Gates that scale zeros do not matter."""
    return (yield from _silent(subject, case, "zero_norm_ignores_the_gates"))


@check(
    "law",
    "a last norm of zero hides the main path",
    applies=needs_law("zero_norm_hides_the_main_path"),
    options="all",
    rank=38,
)
def zero_norm_hides_the_main_path(subject: Subject, case: Case) -> Trial:
    """A block whose last norm is zero is its skip, whatever the convolutions before that norm are."""
    return (yield from _silent(subject, case, "zero_norm_hides_the_main_path"))


@check(
    "law",
    "equal values hide the weights",
    applies=needs_law("equal_values_hide_the_weights"),
    options="all",
    rank=38,
)
def equal_values_hide_the_weights(subject: Subject, case: Case) -> Trial:
    """Where all values are the bias, the average is the bias, whatever the queries and keys are."""
    law = subject.law("equal_values_hide_the_weights", case)
    weight, bias, query, key = law.parameters
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    ask = on_layers(subject, ask, (weight,), "zero")
    if law.axes:
        # Where channels are what is averaged, they are equal only if their biases are.
        ask = on_layers(subject, ask, (bias,), "mean", None, 0)
    before, after = yield [ask, renewed(subject, ask, (query, key), case.seed + 19)]
    return agree(after.out, before.out, "the output for other queries and keys")


def _silent(subject: Subject, case: Case, name: str) -> Trial:
    """With the first layer of a law zero, fresh values in the others change nothing."""
    zeroed, *silent = subject.law(name, case).parameters
    ask = subject.ask(case)
    missing = lacks(subject, ask, (zeroed, *silent))
    if missing:
        return missing
    ask = on_layers(subject, ask, (zeroed,), "zero")
    before, after = yield [ask, renewed(subject, ask, tuple(silent), case.seed + 19)]
    return agree(after.out, before.out, f"the output for another {' and '.join(silent)}")


@check(
    "law",
    "equal channels give uniform weights",
    applies=needs_law("equal_channels_give_uniform_weights"),
    options="all",
    rank=38,
)
def equal_channels_give_uniform_weights(subject: Subject, case: Case) -> Trial:
    """The average of equal channels is that channel, so the output is (1 + gamma)·x."""
    law = subject.law("equal_channels_give_uniform_weights", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    (name,) = law.inputs
    ask = ask.edit(name, "mean", subject.position(ask, name, law.axes[0]))
    (answer,) = yield [ask]
    x, gamma = make(ask.inputs[name]), make(ask.parameters[law.parameters[0]])
    return agree(answer.out, x * (1 + gamma), "the output for channels that are all alike")


CHECKS = (
    zero_gamma_gives_the_input,
    zero_output_gives_the_input,
    zero_norm_gives_the_rectified_input,
    affine_in_gamma,
    output_is_not_negative,
    not_below_the_rectified_input,
    zero_norm_ignores_the_gates,
    zero_norm_hides_the_main_path,
    equal_values_hide_the_weights,
    equal_channels_give_uniform_weights,
)
