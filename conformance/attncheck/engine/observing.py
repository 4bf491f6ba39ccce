"""Which option of each convention a target follows: found by asking, reported, judged only by --expect."""

from collections.abc import Mapping
from dataclasses import replace

from attncheck.checks.dead_rows import dead_row_ask, dead_row_option
from attncheck.checks.masking import masked
from attncheck.engine.put import Executor
from attncheck.model.case import Case
from attncheck.targets.ask import Ask
from attncheck.targets.legal import default_options, rules_of
from attncheck.targets.subject import Subject

_EMPTY = ("batch", "q_len", "kv_len")


def observe(subject: Subject, executor: Executor, seed: int) -> dict[str, str]:
    """The conventions of a target that it lets one see."""
    options = default_options(subject)
    sizes = rules_of(subject, options).planned({})
    if sizes is None:
        return dict(subject.interface.conventions)
    case = Case(sizes, options, dtype=subject.interface.dtype, device=subject.device, seed=seed)
    seen = dict(subject.interface.conventions)
    seen |= _dead_rows(subject, executor, case)
    seen |= _empty_axes(subject, executor, case)
    seen |= _size_one(subject, executor, case)
    seen |= _nan_behind_a_mask(subject, executor, case)
    return seen


def _dead_rows(subject: Subject, executor: Executor, case: Case) -> Mapping[str, str]:
    """Asked for on each path: with the weights returned and without."""
    if subject.masking is None or not subject.interface.loads:
        return {}
    found = {}
    for flag in (False, True) if "need_weights" in subject.interface.takes else (None,):
        ask = dead_row_ask(subject, case)
        ask = ask if flag is None else replace(ask, options={**ask.options, "need_weights": flag})
        (answer,) = executor.put([ask])
        if answer.trouble is None:
            name = {None: "", False: "_without_weights", True: "_with_weights"}[flag]
            found["fully_masked_row" + name] = dead_row_option(subject, ask, answer) or "something else"
    if len(set(found.values())) == 1:
        return {"fully_masked_row": next(iter(found.values()))}
    return found


def _empty_axes(subject: Subject, executor: Executor, case: Case) -> Mapping[str, str]:
    found = {}
    for axis in _EMPTY:
        if axis not in subject.axes or axis in subject.ties:
            continue
        tied = {a: 0 for a, b in subject.ties.items() if b == axis}
        (answer,) = executor.put([subject.ask(case.with_sizes(**{axis: 0}, **tied))])
        if answer.trouble is not None and answer.trouble.stage == "refused":
            continue
        found[f"empty_{axis}"] = "supported" if answer.trouble is None else "raises"
    return found


def _size_one(subject: Subject, executor: Executor, case: Case) -> Mapping[str, str]:
    """A batch of one for everything but the first input."""
    others = [n for n in list(subject.inputs)[1:] if "batch" in subject.inputs[n].axes]
    if not others:
        return {}
    ask: Ask = subject.ask(case)
    for name in others:
        ask = ask.edit(name, "take", subject.position(ask, name, "batch"), 0)
    (answer,) = executor.put([ask])
    return {"mismatched_size_one": "raises" if answer.trouble else "broadcasts"}


def _nan_behind_a_mask(subject: Subject, executor: Executor, case: Case) -> Mapping[str, str]:
    if (
        subject.masking is None
        or not subject.has("kv_len")
        or subject.optional[subject.masking].kind != "bool"
    ):
        return {}
    size = case.sizes["kv_len"]
    ask = subject.ask(masked(subject, case, "last_key_mask"))
    for name, place in subject.places(ask, "kv_len"):
        if name in subject.inputs:
            ask = ask.edit(name, "fill_from", place, (size - 1, float("nan")))
    (answer,) = executor.put([ask])
    if answer.trouble is not None:
        return {}
    return {"nan_behind_a_mask": "leaks" if bool(answer.out.isnan().any()) else "blocked"}
