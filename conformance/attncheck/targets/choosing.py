"""Options and sizes that a target's constructor offers under a usual name: all their values are judged."""

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from attncheck.model.case import Case, Scalar
from attncheck.targets.adapter import parameter_shapes
from attncheck.targets.configuring import offered
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.hypotheses import guesses
from attncheck.targets.layers import learned_shapes
from attncheck.targets.names import OPTIONS, axes_for
from attncheck.targets.trying import agrees, attempt, built_at, case_for, first_case, subject_of
from attncheck.targets.wanting import KERNELS_OF_BRANCHES, are_kernels
from attncheck.targets.words import PLAIN, spoken
from attnref import Mechanism
from attnref._mechanism import Option

_GUESSES = 60


def with_choices(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with every option and size open that the constructor offers and that was settled so far."""
    found = _without_partial_bias(found, target, mechanism)
    if not found.is_class or found.certainty != "verified":
        return found
    for axis, expression in found.derived.items():
        if expression.isdigit():
            found = _with_size(found, target, mechanism, axis, int(expression))
    ties = subject_of(found, mechanism).ties
    for axis in mechanism.contract.defaults:
        if axis not in found.free and axis not in found.derived and axis not in ties:
            found = _with_free_size(found, target, mechanism, axis)
    for option in mechanism.contract.options:
        if option.name not in found.fixed:
            continue
        argument, expression = _argument_of(option, target, offered(target, found.config) or [])
        if argument is None:
            continue
        if option.name == "bias" and argument not in found.arguments:
            found = _with_bias(found, target, mechanism, option, argument)
        elif not option.name.endswith("bias"):
            told = expression == option.name or option.name in PLAIN
            found = _opened(found, target, mechanism, option, {argument: expression}, agreeing=not told)
            found = _with_unmatched(found, target, option, argument)
    return _with_flags(found, target, mechanism)


def _with_flags(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with options open that flags of other names decide, where every value of them agrees."""
    flags = [p for p in offered(target, found.config) or [] if isinstance(p.default, bool)]
    for flag in (p for p in flags if p.name not in found.arguments):
        for option in mechanism.contract.options:
            settled = found.fixed.get(option.name)
            if settled is None or len(option.values) != 2 or option.name.endswith("bias"):
                continue
            other = next(value for value in option.values if value != settled)
            if _agrees(replace(found, fixed={**found.fixed, option.name: other}), target, mechanism, {}):
                # It makes no difference as things are.
                continue
            expression = f"{option.name} {'==' if flag.default else '!='} {settled!r}"
            if isinstance(settled, bool):
                expression = option.name if flag.default == settled else f"not {option.name}"
            opened = _opened(found, target, mechanism, option, {flag.name: expression}, agreeing=True)
            if opened is not found:
                found = opened
                break
    return found


def _with_unmatched(found: Found, target: Any, option: Option, argument: str) -> Found:
    """The adapter that knows a default of the target under which its weights have no place."""
    default = next(p.default for p in offered(target, found.config) or [] if p.name == argument)
    settled = found.fixed.get(option.name, default)
    if default == settled or default not in option.values or argument not in found.arguments:
        return found
    return replace(found, unmatched=(*found.unmatched, f"{argument}={default}"))


def _without_partial_bias(found: Found, target: Any, mechanism: Mechanism) -> Found:
    """The adapter with biases for good, if without them a layer of the target keeps one all the same."""
    flag = next((name for name, expression in found.arguments.items() if expression == "bias"), None)
    if flag is None or _unplaced(found, target, mechanism, bias=False) <= _unplaced(
        found, target, mechanism, bias=True
    ):
        return found
    return replace(
        found,
        arguments={**found.arguments, flag: "True"},
        takes=tuple(option for option in found.takes if option != "bias"),
        fixed={**found.fixed, "bias": True},
    )


def _unplaced(found: Found, target: Any, mechanism: Mechanism, bias: bool) -> set[str]:
    """The target's tensors that nothing of the reference goes to, with biases or without."""
    adapter, case = FoundAdapter(found, target), first_case(found, mechanism, options={"bias": bias})
    built = built_at(adapter, case.names) if case is not None else None
    if case is None or not isinstance(built, nn.Module):
        return set()
    own = learned_shapes(built)
    return set(own) - set(adapter.placed(own, parameter_shapes(mechanism, {**case.names, **found.fixed})))


def _with_bias(found: Found, target: Any, mechanism: Mechanism, option: Option, argument: str) -> Found:
    """The adapter with the biases that a flag adds, if it was found without any: they may do anything there."""
    if set(found.absent) != _biases(mechanism, found):
        return found
    without = replace(found, absent=(), fixed={**found.fixed, option.name: False})
    opened = _opened(without, target, mechanism, option, {argument: option.name})
    return found if opened is without else opened


def _biases(mechanism: Mechanism, found: Found) -> set[str]:
    """The parameters that the reference has under its option `bias` alone."""
    case = first_case(found, mechanism)
    if case is None:
        return set()
    with_, without = (
        set(parameter_shapes(mechanism, {**case.names, **found.fixed, "bias": flag}))
        for flag in (True, False)
    )
    return with_ - without


def _with_size(found: Found, target: Any, mechanism: Mechanism, axis: str, size: int) -> Found:
    """The adapter with an axis open that was found at its argument's default, if other sizes run as well."""
    for parameter in offered(target, found.config) or []:
        expression = _wanted(parameter, axis, size)
        if expression is None:
            continue
        trial = replace(
            found,
            arguments={**found.arguments, parameter.name: expression},
            derived={a: e for a, e in found.derived.items() if a != axis},
        )
        # Smaller ones too: a border that is too narrow may be cut off where it is too wide.
        sizes = [size + more for more in (0, 1, 2, -1, -2) if size + more > 0]
        cases = [case_for(trial, mechanism, {axis: n}) for n in sizes]
        if _agrees_and_goes_on(trial, target, cases, takes=not _of_inputs(trial, mechanism, axis)):
            return trial
    return found


def _wanted(parameter: inspect.Parameter, axis: str, size: int) -> str | None:
    """What an argument wants whose default is a size, or as many kernels; None if it says another thing."""
    if axis == "branches" and are_kernels(parameter):
        kernels = parameter.default
        return KERNELS_OF_BRANCHES if isinstance(kernels, (tuple, list)) and len(kernels) == size else None
    told = axes_for(parameter.name.lower())[:1] == (axis,) and parameter.default == size
    return axis if told else None


def _of_inputs(found: Found, mechanism: Mechanism, axis: str) -> bool:
    return any(axis in shape.axes for shape in subject_of(found, mechanism).inputs.values())


def _agrees_and_goes_on(trial: Found, target: Any, cases: list[Case | None], takes: bool = False) -> bool:
    """Whether the first case gives the reference's answer and another one any answer.

    Or, with `takes`, whether another size is taken, and weights of it are: what raises then is the call.
    """
    first, *others = (None if case is None else attempt(trial, target, case) for case in cases)
    goes_on = any(other and (other.ran or (takes and other.stage == "forward")) for other in others)
    return first is not None and agrees(first.gap) and goes_on


def _with_free_size(found: Found, target: Any, mechanism: Mechanism, axis: str) -> Found:
    """The adapter with an axis open that follows from another one where its argument is left at None."""
    case, own = first_case(found, mechanism), subject_of(found, mechanism).constructor_axes
    for parameter in offered(target, found.config) or []:
        likely = [a for a in axes_for(parameter.name) if a in own]
        told = likely[:1] == [axis] and parameter.default is None
        # A configuration says its defaults too.
        if not told or found.arguments.get(parameter.name, "None") != "None" or case is None:
            continue
        trial = replace(found, arguments={**found.arguments, parameter.name: axis}, free=(*found.free, axis))
        size = case.sizes[axis]
        cases = [case_for(trial, mechanism, {**case.sizes, axis: n}) for n in (size, 2 * size, 3 * size)]
        if _agrees_and_goes_on(trial, target, cases):
            return trial
    return found


def _argument_of(
    option: Option, target: Any, parameters: list[inspect.Parameter]
) -> tuple[str, str] | tuple[None, str]:
    """The constructor's argument for an option and what it wants: by name and kind of default, or by its words."""
    usual = (option.name, *OPTIONS.get(option.name, ()))
    for parameter in parameters:
        if parameter.name.lower() in usual and _fits(parameter.default, option):
            return parameter.name, option.name
        expression = spoken(target, parameter, option)
        if expression is not None:
            return parameter.name, expression
    return None, ""


def _fits(default: object, option: Option) -> bool:
    if any(isinstance(value, bool) for value in option.values):
        return isinstance(default, bool)
    if default is inspect.Parameter.empty:
        return all(isinstance(value, int) for value in option.values)
    return not isinstance(default, bool) and default in option.values


def _opened(
    found: Found,
    target: Any,
    mechanism: Mechanism,
    option: Option,
    argument: dict[str, str],
    agreeing: bool = False,
) -> Found:
    """The adapter with one option open, or as it was if some value of it has no place for the weights.

    With `agreeing`, also if the answers under some value are not the reference's.
    """
    trial = replace(
        found,
        arguments={**found.arguments, **argument},
        takes=(*found.takes, option.name),
        fixed={n: v for n, v in found.fixed.items() if n != option.name},
    )
    settled = found.fixed[option.name]
    if not _agrees(trial, target, mechanism, {option.name: settled}):
        return found
    for value in option.values:
        if value != settled:
            wider = _with_value(trial, target, mechanism, {option.name: settled}, {option.name: value})
            if wider is None or (agreeing and not _agrees(wider, target, mechanism, {option.name: value})):
                return found
            trial = wider
    return trial


def _with_value(
    trial: Found, target: Any, mechanism: Mechanism, settled: dict[str, Scalar], value: dict[str, Scalar]
) -> Found | None:
    """The adapter with places for the weights under another value; None if there are none."""
    likely = list(_placed(trial, target, mechanism, value))
    for placed in likely:
        for fixed in (placed.fixed, *_neighbours(placed, mechanism)):
            tried = replace(placed, fixed=fixed)
            # What made no difference before may be told now: what is settled must agree all the same.
            if _agrees(tried, target, mechanism, value) and _agrees(tried, target, mechanism, settled):
                return tried
    # None agrees: a mistake under this value. Places are judged that have the names they had before,
    # if they are all that the reference has.
    complete = not any(set(placed.absent) > set(trial.absent) for placed in likely)
    return next((placed for placed in likely if complete and _is_renamed(placed, trial)), None)


def _is_renamed(placed: Found, trial: Found) -> bool:
    """Whether every layer is found in the part of the target in which it was found before."""
    before = {p.roles: p.target.split(".")[0] for p in trial.placements}
    if placed.absent != trial.absent:
        return False
    now = placed.others[-1] if placed.others != trial.others else placed.placements
    return all(before.get(p.roles, p.target.split(".")[0]) == p.target.split(".")[0] for p in now)


def _placed(trial: Found, target: Any, mechanism: Mechanism, value: dict[str, Scalar]) -> Iterator[Found]:
    """The adapter with the weights where they may be under this value, the likeliest first."""
    case = first_case(trial, mechanism, options=dict(value))
    if case is None:
        return
    adapter = FoundAdapter(trial, target)
    built = built_at(adapter, case.names)
    if built is None:
        return
    learned = learned_shapes(built) if isinstance(built, nn.Module) else {}
    own = {name: shape for name, shape in learned.items() if name not in (*trial.neutral, *trial.idle)}
    reference = parameter_shapes(mechanism, {**case.names, **trial.fixed})
    if set(adapter.placed(own, reference)) == set(own):
        yield trial
    for guess in guesses(own, reference, case.sizes.get("heads"))[:_GUESSES]:
        if guess.identity == trial.identity:
            # A bias may be there under this value alone, and the target lack it.
            absent = (*trial.absent, *(name for name in guess.absent if name not in trial.absent))
            yield replace(trial, others=(*trial.others, guess.placements), absent=absent)


def _neighbours(found: Found, mechanism: Mechanism) -> Iterator[dict[str, Scalar]]:
    """The settled options with one of them changed, then with two."""
    settled = [o for o in mechanism.contract.options if o.name in found.fixed and not o.name.endswith("bias")]
    changes = [(o.name, value) for o in settled for value in o.values if value != found.fixed[o.name]]
    yield from ({**found.fixed, name: value} for name, value in changes)
    for one, two in itertools.combinations(changes, 2):
        yield {**found.fixed, **dict((one, two))}


def _agrees(found: Found, target: Any, mechanism: Mechanism, options: dict[str, Scalar]) -> bool:
    case = first_case(found, mechanism, options=dict(options))
    return case is not None and agrees(attempt(found, target, case).gap)
