"""Edits of whole layers: the parameters under one name of the reference that the target has."""

import re

from attncheck.checks.check import NotJudged
from attncheck.targets.ask import Ask
from attncheck.targets.subject import Subject


def of_layer(ask: Ask, layer: str) -> list[str]:
    """What is learned under a name, such as `norm` or `excite.weight`; members of a list count alike."""
    learned = [name for name in ask.parameters if "running" not in name]
    return [name for name in learned if _under(name, layer) or _under(re.sub(r"\.\d+\b", "", name), layer)]


def _under(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".")


def owned(subject: Subject, ask: Ask, layer: str) -> list[str]:
    """Those that the target has as well."""
    lacking = {*subject.interface.absent, *subject.interface.identity}
    return [n for n in of_layer(ask, layer) if n not in lacking and not subject.goes(n, ask.names)]


def lacks(subject: Subject, ask: Ask, layers: tuple[str, ...]) -> NotJudged | None:
    """Why a law about layers says nothing of a target that lacks one of them."""
    for layer in layers:
        if not owned(subject, ask, layer):
            return NotJudged(f"the target has no {layer}")
    return None


def on_layers(
    subject: Subject,
    ask: Ask,
    layers: tuple[str, ...],
    op: str,
    argument: float | tuple[float, ...] | None = None,
    axis: int | None = None,
) -> Ask:
    """The question with everything in these layers edited."""
    for layer in layers:
        for name in owned(subject, ask, layer):
            ask = ask.edit(name, op, axis, argument)
    return ask


def renewed(subject: Subject, ask: Ask, layers: tuple[str, ...], seed: int) -> Ask:
    """The question with fresh values in these layers, different for each parameter."""
    names = [name for layer in layers for name in owned(subject, ask, layer)]
    for index, name in enumerate(names):
        ask = ask.edit(name, "renew", None, seed + 7919 * (index + 1))
    return ask
