"""Laws of branches: how the gate between them weighs what each of them gives."""

from dataclasses import replace

from attncheck.checks.check import Trial, check, needs_law
from attncheck.checks.comparing import agree
from attncheck.checks.layers import lacks, of_layer, on_layers, renewed
from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.subject import Subject


@check(
    "law",
    "equal branches give what each gives",
    applies=needs_law("equal_branches_give_their_value"),
    options="all",
    rank=37,
)
def equal_branches_give_their_value(subject: Subject, case: Case) -> Trial:
    """Branches that all give their norm's bias, the same, average to it: weights sum to one."""
    (layer,) = subject.law("equal_branches_give_their_value", case).parameters
    ask = subject.ask(case)
    missing = lacks(subject, ask, (f"{layer}.weight", f"{layer}.bias"))
    if missing:
        return missing
    ask = on_layers(subject, ask, (f"{layer}.weight",), "zero")
    biases = of_layer(ask, f"{layer}.bias")
    first = ask.parameters[biases[0]]
    (answer,) = yield [replace(ask, parameters={**ask.parameters, **dict.fromkeys(biases, first)})]
    expected = make(first).relu()[:, None, None].expand(answer.out.shape)
    return agree(answer.out, expected, "the output of branches that are all alike")


@check(
    "law",
    "a gate of zeros averages the branches",
    applies=needs_law("zero_excite_adds_up_branches"),
    options="all",
    rank=37,
)
def zero_excite_adds_up_branches(subject: Subject, case: Case) -> Trial:
    """With even weights, what the branches give one by one adds up to what they give together."""
    law = subject.law("zero_excite_adds_up_branches", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    excite, norm = law.parameters
    ask = on_layers(subject, ask, (excite,), "zero")
    branches = range(case.sizes["branches"])
    alone = [
        on_layers(subject, ask, tuple(f"{norm}.{j}" for j in branches if j != i), "zero") for i in branches
    ]
    together, *parts = yield [ask, *alone]
    total = together.out * 0
    for part in parts:
        total = total + part.out
    return agree(together.out, total, "the output of all branches beside the sum of each alone")


@check(
    "law",
    "logits that all branches share change nothing",
    applies=needs_law("ignores_common_branch_logits"),
    options="all",
    rank=37,
)
def ignores_common_branch_logits(subject: Subject, case: Case) -> Trial:
    """A softmax over branches takes away what is added to all of them."""
    law = subject.law("ignores_common_branch_logits", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    before, after = yield [ask, on_layers(subject, ask, law.parameters, "stir", case.seed + 41)]
    return agree(after.out, before.out, "the output after moving the logits of all branches alike")


@check(
    "law",
    "one branch ignores the gate",
    applies=needs_law("one_branch_ignores_the_gate"),
    options="all",
    rank=37,
)
def one_branch_ignores_the_gate(subject: Subject, case: Case) -> Trial:
    """Where there is nothing to choose, the gate has no say."""
    law = subject.law("one_branch_ignores_the_gate", case)
    ask = subject.ask(case)
    missing = lacks(subject, ask, law.parameters)
    if missing:
        return missing
    before, after = yield [ask, renewed(subject, ask, law.parameters, case.seed + 43)]
    return agree(after.out, before.out, "the output of one branch for another gate")


CHECKS = (
    equal_branches_give_their_value,
    zero_excite_adds_up_branches,
    ignores_common_branch_logits,
    one_branch_ignores_the_gate,
)
