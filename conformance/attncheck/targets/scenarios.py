"""Ways of calling a target: plainly, twice, after a copy, under a mode of torch."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.targets.adapter import Adapter
from attncheck.targets.ask import Ask
from attncheck.targets.influence import idle_parameters, unregistered
from attncheck.targets.transforming import TRANSFORMS

Results = Mapping[str, Any]
Scenario = Callable[[Adapter, Any, dict[str, Tensor], Ask], Results]


def _call(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    return adapter.call(built, inputs, ask.options)


def _as_one(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call with one tensor wherever two inputs hold the same numbers."""
    shared: dict[str, Tensor] = {}
    for name, tensor in inputs.items():
        shared[name] = next((other for other in shared.values() if torch.equal(tensor, other)), tensor)
    return adapter.call(built, shared, ask.options)


def _left_out(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call without the inputs that may be left out."""
    return adapter.call(
        built, {n: t for n, t in inputs.items() if n not in adapter.interface.spare}, ask.options
    )


def _twice(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """The same call two times; the second result comes back as `again`."""
    first = {n: t.clone() for n, t in adapter.call(built, inputs, ask.options).items()}
    return {**first, "again": adapter.call(built, inputs, ask.options)["out"]}


def _reseeded(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """The same call under two seeds of torch's global generator."""
    first = {n: t.clone() for n, t in adapter.call(built, inputs, ask.options).items()}
    torch.manual_seed(ask.cotangent + 1)
    return {**first, "again": adapter.call(built, inputs, ask.options)["out"]}


def _trained(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """The call in eval mode, one in training mode, and the first again."""
    first = {n: t.clone() for n, t in adapter.call(built, inputs, ask.options).items()}
    if isinstance(built, nn.Module):
        built.train()
        adapter.call(built, inputs, ask.options)
        built.eval()
    return {**first, "again": adapter.call(built, inputs, ask.options)["out"]}


def _refilled(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, overwrite the same buffers with other values, and call again."""
    own = {n: t.clone() for n, t in inputs.items()}
    adapter.call(built, own, ask.options)
    for tensor in own.values():
        if tensor.is_floating_point():
            tensor.mul_(-0.5).add_(0.25)
    second = adapter.call(built, own, ask.options)["out"].clone()
    fresh = {n: t.clone() for n, t in own.items()}
    return {"out": adapter.call(built, fresh, ask.options)["out"], "again": second}


def _outlived(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, call with other values, and look at the first answer again."""
    answer = adapter.call(built, inputs, ask.options)["out"]
    before = answer.clone()
    others = {n: t.mul(-0.5).add(0.25) if t.is_floating_point() else t for n, t in inputs.items()}
    adapter.call(built, others, ask.options)
    return {"out": before, "again": answer}


def _deepcopied(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, then call a deep copy of the instance."""
    first = {n: t.clone() for n, t in adapter.call(built, inputs, ask.options).items()}
    if not isinstance(built, nn.Module):
        # A function has nothing of its own that a copy could lose, and a compiled one refuses to be copied.
        return {**first, "again": first["out"]}
    return {**first, "again": adapter.call(copy.deepcopy(built), inputs, ask.options)["out"]}


def _reloaded(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, then call a new instance that got this one's state_dict."""
    first = {n: t.clone() for n, t in adapter.call(built, inputs, ask.options).items()}
    if not isinstance(built, nn.Module):
        return {**first, "again": first["out"]}
    other = adapter.build(ask.names).to(inputs[next(iter(inputs))].device, next(iter(first.values())).dtype)
    other.train(ask.train)
    other.load_state_dict(copy.deepcopy(built.state_dict()))
    return {**first, "again": adapter.call(other, inputs, ask.options)["out"]}


def _watched(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, and note which parameters and buffers were there before and after."""
    before = _tensors(built)
    values = {n: t.detach().clone() for n, t in before.items()}
    result = adapter.call(built, inputs, ask.options)
    after = _tensors(built)
    changed = [n for n, t in after.items() if n in values and not torch.equal(values[n], t)]
    replaced = [n for n, t in after.items() if n not in before or before[n] is not t]
    facts = {"changed": changed, "replaced": replaced, "lost": sorted(before.keys() - after.keys())}
    # A plain function has nowhere to register anything.
    counted = {"parameters": len(before)} if isinstance(built, nn.Module) else {}
    return {**result, **facts, **counted}


def _tensors(built: Any) -> dict[str, Tensor]:
    if not isinstance(built, nn.Module):
        return {}
    # What is not part of the state may grow with the longest input so far.
    kept = built.state_dict(keep_vars=True)
    return dict(built.named_parameters()) | {n: b for n, b in built.named_buffers() if n in kept}


def _weighed(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call, and note which parameters have no say in the output."""
    idle = idle_parameters(built, lambda: adapter.call(built, inputs, ask.options)["out"])
    return {**adapter.call(built, inputs, ask.options), "idle": list(idle)}


def _listed(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Note what the constructor made to be learned and did not register; then call."""
    loose = unregistered(built)
    return {**adapter.call(built, inputs, ask.options), "unregistered": list(loose)}


def _inference(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    with torch.inference_mode():
        result = adapter.call(built, {n: t.clone() for n, t in inputs.items()}, ask.options)
        return {n: t.clone() for n, t in result.items()}


def _with_grad(adapter: Adapter, built: Any, inputs: dict[str, Tensor], ask: Ask) -> Results:
    """Call while gradients are recorded, though nobody asks for one."""
    with torch.enable_grad():
        wanted = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in inputs.items()}
        return {n: t.detach() for n, t in adapter.call(built, wanted, ask.options).items()}


SCENARIOS: Mapping[str, Scenario] = {
    "call": _call,
    "as_one": _as_one,
    "left_out": _left_out,
    "twice": _twice,
    "reseeded": _reseeded,
    "trained": _trained,
    "refilled": _refilled,
    "outlived": _outlived,
    "deepcopied": _deepcopied,
    "reloaded": _reloaded,
    "watched": _watched,
    "weighed": _weighed,
    "listed": _listed,
    "inference": _inference,
    "with_grad": _with_grad,
    **TRANSFORMS,
}
