"""Good manners of a module: its inputs, its state and torch's own are left as they were."""

from dataclasses import replace

from attncheck.checks.check import Mismatch, NotJudged, Trial, check, needs_mask
from attncheck.checks.comparing import agree
from attncheck.checks.masking import masked, shortened
from attncheck.checks.value import with_masks
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.legal import resized
from attncheck.targets.names import layer_role
from attncheck.targets.subject import Subject


@check("hygiene", "inputs are not written to", share=0.6, rank=60, asks="memory", options="all")
def never_mutates_inputs(subject: Subject, case: Case) -> Trial:
    """Every tensor that was handed over holds after the call what it held before the first one."""
    # Numbers to add may be the mask's argument, so they come by turns.
    biased = "bias" in subject.optional and case.seed % 2 and not subject.interface.exclusive
    case = case.with_options(bias=True) if biased else with_masks(subject, case)
    # Without gradients a write into a leaf is allowed by torch and goes unseen.
    (answer,) = yield [subject.ask(case, fresh=True)]
    mutated = answer.facts.get("mutated")
    if not mutated:
        return None
    return Mismatch("unchanged inputs", f"{', '.join(map(str, mutated))} was written to", kind="mutates")  # type: ignore[call-overload]  # a list of names


@check("hygiene", "the same call gives the same answer", share=0.4, rank=61)
def repeats_itself(subject: Subject, case: Case) -> Trial:
    """In eval mode a second call with the same inputs gives the same values, under another seed too."""
    ask = subject.ask(masked(subject, case))
    first, second = yield [replace(ask, scenario="twice"), replace(ask, scenario="reseeded")]
    for answer in (first, second):
        judgement = agree(answer.tensors["again"], answer.out, "the second answer", tolerance=1e-9)
        if judgement:
            return judgement
    return None


@check("hygiene", "new contents of an old buffer are seen", share=0.3, rank=62, asks="memory")
def sees_new_contents(subject: Subject, case: Case) -> Trial:
    """Overwriting the inputs in place changes the answer as new tensors would, and a new instance."""
    ask = subject.ask(masked(subject, case))
    refilled = replace(ask, scenario="refilled")
    if not subject.interface.loads:
        # Two instances have weights of their own.
        (answer,) = yield [refilled]
        return agree(answer.tensors["again"], answer.out, "the answer for refilled buffers", tolerance=1e-9)
    answer, new = yield [refilled, replace(_refilled(ask), fresh=True)]
    return agree(
        answer.tensors["again"], answer.out, "the answer for refilled buffers", tolerance=1e-9
    ) or agree(answer.out, new.out, "the answer of a new instance", tolerance=1e-9)


def _refilled(ask: Ask) -> Ask:
    """The question that the scenario of the same name ends with."""
    for name, recipe in ask.inputs.items():
        if recipe.dtype not in ("int64", "bool"):
            ask = ask.edit(name, "scale", None, -0.5).edit(name, "add", None, 0.25)
    return ask


@check("hygiene", "earlier calls leave no trace", share=0.25, rank=63)
def forgets_other_sizes(subject: Subject, case: Case) -> Trial:
    """An instance that has seen other sizes answers as a new one does, causal ones too."""
    asks = [subject.ask(masked(subject, case))]
    if "causal" in subject.interface.takes:
        asks.append(subject.ask(case.with_options(causal=True)))
    for ask in asks:
        shorter = _halved(subject, case, ask)
        # By turns: what is kept may be too small for the next call, or be cut to size at the wrong end.
        pair = [shorter, ask] if case.seed % 2 else [ask, shorter]
        fresh = [replace(each, fresh=True) for each in pair]
        _, second, first, fresh_first, fresh_second = yield [*pair, pair[0], *fresh]
        for used, new in ((second, fresh_second), (first, fresh_first)):
            judgement = agree(used.out, new.out, "the answer after a call of another size", tolerance=1e-9)
            if judgement:
                return judgement
    return None


@check("hygiene", "an earlier mask leaves no trace", applies=needs_mask, share=0.25, rank=63)
def forgets_an_earlier_mask(subject: Subject, case: Case) -> Trial:
    """The answer without a mask is the same before and after a call with one, in causal calls too."""
    if case.seed % 2:
        # One sample and one head share a mask with whatever else has its lengths alone, such as a triangle.
        case = _of_one(subject, case)
    if "causal" in subject.interface.takes and case.seed % 4 != 2:
        case = case.with_options(causal=True)
    exclusive = "causal" in subject.interface.exclusive and case.options.get("causal")
    plain = subject.ask(case)
    hiding = case.with_options(causal=False) if exclusive else case
    hidden = subject.ask(masked(subject, hiding, "random_mask"))
    before, _, after = yield [plain, hidden, plain]
    return agree(after.out, before.out, "the answer after a call with a mask", tolerance=1e-9)


def _of_one(subject: Subject, case: Case) -> Case:
    """The case with one sample, and one head where there are heads, as far as that is legal."""
    for axis in ("batch", "heads"):
        case = resized(subject, case, {axis: 1}) or case
    return case


def _halved(subject: Subject, case: Case, ask: Ask) -> Ask:
    """The same question with half of the keys and queries, or of what else has a length."""
    axis = next(
        (a for a in ("kv_len", "q_len", "height", "tokens", "length", "batch") if subject.has(a)), "batch"
    )
    if axis in subject.constructor_axes:
        axis = "batch"
    half = max(1, case.sizes.get(axis, 1) // 2)
    while half < case.sizes.get(axis, 1) and resized(subject, case, {axis: half}) is None:
        half += 1
    if axis != "kv_len":
        return subject.along(ask, axis, "narrow", half)
    return subject.along(shortened(subject, ask, half), "q_len", "narrow", max(1, case.sizes["q_len"] // 2))


@check("hygiene", "the output is memory of its own", rank=64, asks="memory")
def output_owns_its_memory(subject: Subject, case: Case) -> Trial:
    """Writing into the output must not write into an input."""
    (answer,) = yield [subject.ask(case)]
    if "out" not in answer.facts.get("aliased", ()):  # type: ignore[operator]  # a list of names
        return None
    return Mismatch("an output with memory of its own", "it shares memory with an input", kind="aliases")


@check("hygiene", "an answer outlives the next call", share=0.2, rank=64, asks="memory")
def answer_outlives_the_next_call(subject: Subject, case: Case) -> Trial:
    """A call with other values leaves the answer of the call before as it was."""
    (answer,) = yield [replace(subject.ask(masked(subject, case)), scenario="outlived")]
    return agree(answer.tensors["again"], answer.out, "the first answer after a second call", tolerance=1e-9)


@check("hygiene", "torch's global state is left alone", share=0.3, rank=65, asks="torch")
def leaves_global_state_alone(subject: Subject, case: Case) -> Trial:
    """Grad mode, default dtype and device, thread count and torch's own functions stay as they were."""
    (answer,) = yield [subject.ask(masked(subject, case))]
    changed = [*answer.facts.get("state_changed", ()), *answer.facts.get("patched", ())]  # type: ignore[misc]  # lists of names
    if not changed:
        return None
    return Mismatch(
        "torch as it was", f"changed: {', '.join(map(str, changed))}", kind="changes global state"
    )


@check("hygiene", "without dropout no random number is drawn", share=0.2, rank=66, asks="torch")
def draws_no_random_numbers(subject: Subject, case: Case) -> Trial:
    """In eval mode torch's generator stands where it stood."""
    (answer,) = yield [subject.ask(masked(subject, case))]
    if not answer.facts.get("rng_moved"):
        return None
    return Mismatch("a generator that stands still", "it advanced", kind="draws random numbers")


@check("hygiene", "a call leaves the parameters alone", share=0.3, rank=67, asks="torch")
def keeps_its_parameters(subject: Subject, case: Case) -> Trial:
    """In eval mode parameters and buffers keep their values, and are the same objects."""
    (answer,) = yield [replace(subject.ask(masked(subject, case)), scenario="watched")]
    for fact in ("changed", "replaced", "lost"):
        names = answer.facts.get(fact)
        if names:
            listed = ", ".join(map(str, names))  # type: ignore[call-overload]  # a list of names
            return Mismatch("the parameters it had", f"{fact}: {listed}", kind="changes its parameters")
    return None


@check("hygiene", "a deep copy answers alike", share=0.2, rank=68, asks="torch")
def survives_a_deep_copy(subject: Subject, case: Case) -> Trial:
    """copy.deepcopy after a call gives an instance with the same answers."""
    (answer,) = yield [replace(subject.ask(case), scenario="deepcopied", fresh=True)]
    return agree(answer.tensors["again"], answer.out, "the copy's answer", tolerance=1e-9)


@check("hygiene", "state_dict carries everything", share=0.2, rank=69, asks="torch")
def survives_its_state_dict(subject: Subject, case: Case) -> Trial:
    """A new instance that loads the state_dict gives the same answers."""
    (answer,) = yield [replace(subject.ask(case), scenario="reloaded", fresh=True)]
    return agree(answer.tensors["again"], answer.out, "the reloaded instance's answer", tolerance=1e-9)


def _is_module(subject: Subject) -> str | None:
    return None if subject.mechanism.module is not None else "the mechanism has no parameters"


@check("hygiene", "what is learned is registered", applies=_is_module, share=0.1, rank=59)
def registers_its_parameters(subject: Subject, case: Case) -> Trial:
    """Everything that the output depends on is among parameters() and moves with .to()."""
    if subject.interface.lacking:
        yield []
        return Mismatch(
            "every weight of the mechanism among parameters(), once",
            subject.interface.lacking,
            kind="registers other weights",
        )
    (answer,) = yield [replace(subject.ask(case), scenario="listed")]
    loose = answer.facts["unregistered"]
    if not loose:
        return None
    return Mismatch("every tensor that is learned among parameters()", f"{', '.join(loose)} elsewhere")  # type: ignore[arg-type]  # a list of names


@check("hygiene", "what is registered is used", applies=_is_module, share=0.2, rank=59, asks="torch")
def uses_its_parameters(subject: Subject, case: Case) -> Trial:
    """Every learned parameter has a say in the output: what never has one hides that another took its place."""
    chosen = {*subject.signature.axes, "heads", "branches"} - set(subject.interface.derived)
    if any(case.sizes.get(axis, 2) < 2 for axis in chosen):
        return NotJudged("where a size is one or none, a layer may be left out")
    asks = [replace(subject.ask(c), scenario="weighed") for c in (case, masked(subject, case))]
    first, second = yield asks
    idle = [n for n in first.facts["idle"] if n in second.facts["idle"]]  # type: ignore[attr-defined,operator]  # lists of names
    if subject.laws("ignores_key_bias"):
        # By law it changes nothing: who leaves it out has noticed.
        idle = [n for n in idle if not (n.endswith("bias") and layer_role(n) == "key")]
    if not idle:
        return None
    return Mismatch(
        "parameters that all have a say in the output",
        f"{', '.join(idle)} {'has' if len(idle) == 1 else 'have'} none",
        kind="leaves parameters unused",
    )


CHECKS = (
    registers_its_parameters,
    uses_its_parameters,
    never_mutates_inputs,
    repeats_itself,
    sees_new_contents,
    forgets_other_sizes,
    forgets_an_earlier_mask,
    output_owns_its_memory,
    answer_outlives_the_next_call,
    leaves_global_state_alone,
    draws_no_random_numbers,
    keeps_its_parameters,
    survives_a_deep_copy,
    survives_its_state_dict,
)
