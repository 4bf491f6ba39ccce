"""What runs in the target's process before the first question: finding an adapter, and opening it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from attncheck.model import installed
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.shapes.catalogue import BY_ID
from attncheck.targets.adapter import Adapter
from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.frameworks.bridges import note_on
from attncheck.targets.frameworks.crossing import crossed
from attncheck.targets.frameworks.recognising import crossings
from attncheck.targets.frameworks.tying import with_equal_widths
from attncheck.targets.handing import found_owning, with_width
from attncheck.targets.layouts import single_axes
from attncheck.targets.loading import load
from attncheck.targets.masking import try_mask, unused
from attncheck.targets.names import is_mask
from attncheck.targets.projecting import found_projecting, reached
from attncheck.targets.pruning import pruned
from attncheck.targets.recognising import likely_mechanisms
from attncheck.targets.trying import agrees, runs
from attncheck.targets.written import written_adapter
from attnref import Mechanism

Tell = Callable[[Mapping[str, object]], None]
# So little more speaks for one mechanism than for another that a person is asked.
_TIE = 0.5


def find(target: str, mechanism: str | None, init: Mapping[str, str], progress: Tell) -> dict[str, object]:
    """The adapter of a target as JSON, with the mechanism guessed if none is given."""
    progress({"stage": "import"})
    loaded = load(target)
    try:
        found = find_for(loaded, target, mechanism, init, progress)
        return pruned(found, reached(loaded, found)).to_json()
    except (NoAdapterError, UsageError):
        raise
    except Exception as error:
        # Ours, not the target's: what the target raises is caught where it is called.
        what = f"{type(error).__name__}: {error}"
        raise NoAdapterError(f"attncheck itself failed while it studied {target}: {what}") from error


def find_for(target: Any, name: str, mechanism: str | None, init: Mapping[str, str], progress: Tell) -> Found:
    """The adapter of an object, over the bridge to its framework if it is not torch's.

    Raises: NoAdapterError or UsageError with what was tried.
    """
    ways = crossings(target)
    if not ways[0][0]:
        return _found_for(target, name, mechanism, init, progress)
    likeliest: Found | None = None
    refused: NoAdapterError | None = None
    for framework, mapped in ways:
        reached = crossed(target, framework, mapped)
        try:
            found = _found_over(reached, framework, name, mechanism, init, progress)
        except NoAdapterError as error:
            refused = refused or error
            continue
        notes = (note_on(framework, mapped), *found.notes)
        found = replace(found, framework=framework, mapped=mapped, notes=notes)
        if found.certainty == "verified" and not single_axes(found.result_layout):
            return found
        # Called one by one over heads or samples it knows several of them; without these axes there is but one.
        likeliest = likeliest or (found if runs(found, reached) else None)
    if likeliest is None:
        raise refused or NoAdapterError(f"no call of {name} that was tried returned what it should")
    return likeliest


def _found_over(
    reached: Any, framework: str, name: str, mechanism: str | None, init: Mapping[str, str], progress: Tell
) -> Found:
    """The adapter of what a bridge reaches; functions of JAX may want values as wide as queries."""
    found: Found | None = None
    refused = NoAdapterError(f"no call of {name} was tried")
    try:
        found = _found_for(reached, name, mechanism, init, progress)
    except NoAdapterError as error:
        refused = error
    verified = found is not None and found.certainty == "verified"
    likely = mechanism or next(iter(likely_mechanisms(reached, name)))
    if framework == "jax" and not verified and likely == "scaled_dot_product":
        found = with_equal_widths(reached, name, BY_ID[likely]) or found
    if found is None:
        raise refused
    return found


def _found_for(
    target: Any, name: str, mechanism: str | None, init: Mapping[str, str], progress: Tell
) -> Found:
    if mechanism is not None:
        return _as_told(target, BY_ID[mechanism], init, progress)
    return _recognised(target, name, init, progress)


def _recognised(target: Any, name: str, init: Mapping[str, str], progress: Tell) -> Found:
    """The adapter as the mechanism that it agrees with, of the likely ones, or else as the likeliest that it fits."""
    likely = likely_mechanisms(target, name)
    fitting: list[tuple[float, Found]] = []
    for mechanism, likelihood in likely.items():
        progress({"stage": f"trying it as {mechanism}"})
        try:
            found = _as_told(target, BY_ID[mechanism], init, progress)
        except NoAdapterError:
            continue
        if found.certainty == "verified" and _agrees_masked(found, reached(target, found)):
            return found
        fitting.append((likelihood, found))
    agreeing = [found for _, found in fitting if found.certainty == "verified"]
    if agreeing:
        return agreeing[0]
    if not fitting:
        raise NoAdapterError(
            f"{name} fits no mechanism that its name, code or arguments suggest ({', '.join(likely)}); "
            f"name one with --mechanism"
        )
    (first, found), *others = fitting
    close = [
        o.mechanism
        for likelihood, o in others
        if first - likelihood < _TIE and o.certainty == found.certainty
    ]
    if close:
        raise UsageError(f"{name} could be {found.mechanism} or {close[0]}; say which with --mechanism")
    note = f"taken for {found.mechanism} by its name and code; --mechanism says otherwise"
    return replace(found, notes=(note, *found.notes))


def _agrees_masked(found: Found, target: Any) -> bool:
    """Whether it agrees with a mask, too, if it takes one: that tells mechanisms apart that compute the same."""
    if found.mask is None:
        return not any(is_mask(parameter.name) for parameter in unused(found, target))
    trial = try_mask(found, target, BY_ID[found.mechanism], found.mask)
    return trial is not None and trial.ran and agrees(trial.gap)


def _discovered(
    target: Any, mechanism: Mechanism, init: Mapping[str, str], tell: Callable[[str], None]
) -> Found:
    """The adapter of a target, which may be a function that is handed its weights. Raises NoAdapterError."""
    seek = partial(discover, mechanism=mechanism, init=init, progress=tell)
    try:
        return with_width(seek(target), target, mechanism, seek)
    except NoAdapterError:
        found = found_owning(target, mechanism, seek) or found_projecting(target, mechanism, seek)
        if found is None:
            raise
        return found


# A target may do more than the mechanism it is offered as: then it is judged as what it is.
_WIDER = {"cross": "multi_head"}


def _as_told(target: Any, mechanism: Mechanism, init: Mapping[str, str], progress: Tell) -> Found:
    """The adapter as the mechanism a person named, or as a wider one that includes it."""

    def tell(stage: str) -> None:
        progress({"stage": stage})

    error: NoAdapterError | None = None
    found: Found | None = None
    try:
        found = _discovered(target, mechanism, init, tell)
    except NoAdapterError as caught:
        error = caught
    wider = _WIDER.get(mechanism.id)
    if wider is None or (found is not None and found.certainty != "guessed"):
        if found is None:
            raise error or NoAdapterError(f"no adapter for {mechanism.id} was found")
        return found
    try:
        other = discover(target, BY_ID[wider], init=init, progress=tell)
    except NoAdapterError:
        other = None
    if other is not None and (found is None or other.certainty != "guessed"):
        note = f"it does more than {mechanism.id}: judged as {wider}"
        return replace(other, notes=(note, *other.notes))
    if found is None:
        raise error or NoAdapterError(f"no adapter for {mechanism.id} was found")
    return found


def open_found(target: str, found: Mapping[str, Any]) -> FoundAdapter:
    """The adapter that `find` found, for the same target."""
    told = Found.from_json(found)
    return FoundAdapter(told, reached(load(target), told))


def open_written(adapter: str) -> Adapter:
    """The adapter in a person's file."""
    return written_adapter(load(adapter))


def open_registered(target: str) -> Adapter:
    """The adapter that an installed distribution offers for a target, by an entry point of that name."""
    point = installed.points(installed.ADAPTERS)[target]
    held = installed.load(point)
    try:
        return replace(written_adapter(held), origin=f"adapter of {installed.described(point)}")
    except UsageError as error:
        raise UsageError(f"{installed.described(point)}: {error}") from error
