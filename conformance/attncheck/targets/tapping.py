"""What a target itself is and returns, before an adapter picks from it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.model.case import Case
from attncheck.strategies.tensors import make
from attncheck.targets.adapter import parts_of
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.making import makes
from attncheck.targets.trying import instance_of, subject_of


def function_of(target: Any) -> Callable[..., Any]:
    """What is called: a module's forward, that of the modules a function makes, or the function itself."""
    target = makes(target) or target
    if isinstance(target, nn.Module) or (isinstance(target, type) and issubclass(target, nn.Module)):
        return target.forward
    return target.__call__ if isinstance(target, type) else target


def raw_result(found: Found, target: Any, case: Case) -> Any:
    """What the target itself returns, before anything is picked from it."""
    adapter = FoundAdapter(found, _Tapped(target))
    ask = subject_of(found, adapter.mechanism).ask(case)
    try:
        built = instance_of(FoundAdapter(found, target), ask)
        tap = _Tap(built)
        inputs = {n: make(r) for n, r in ask.inputs.items()}
        with torch.no_grad():
            adapter.call(tap, inputs, ask.options)
    except Exception:
        return getattr(locals().get("tap"), "result", None)
    return tap.result


class _Tapped:
    """Stands in for a target that is not called through the adapter."""

    def __init__(self, target: Any) -> None:
        self.target = target


class _Tap:
    """Calls an instance and keeps what it returned."""

    def __init__(self, built: Any) -> None:
        self._built = built
        self.result: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.result = self._built(*args, **kwargs)
        return self.result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built, name)


def places_of(base: Found, target: Any, case: Any) -> list[str]:
    """Where tensors are in what the target returns."""
    raw = raw_result(base, target, case)
    if isinstance(raw, Tensor):
        return [""]
    return [place for place, part in parts_of(raw).items() if isinstance(part, Tensor)]
