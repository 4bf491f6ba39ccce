"""Ways of calling a target through a transformation of torch: compiled, exported, mapped, built on meta.

What a transformation refuses is no mistake of the target: `refused` gives the reason, and `out` is plain.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attncheck.targets.adapter import Adapter
from attncheck.targets.ask import Ask

Results = Mapping[str, Any]
Tensors = dict[str, Tensor]

# Inputs of other sizes or values travel with the question, under their names behind this.
BEFORE = "before."

# Scenarios in which torch traces or compiles the target first.
COMPILED = ("compiled", "generated", "exported")


class _Program(nn.Module):
    """One call of a target, as a module with tensors in and a tensor out."""

    def __init__(self, adapter: Adapter, built: Any, ask: Ask) -> None:
        super().__init__()
        self.adapter, self.target, self.options = adapter, built, ask.options

    def forward(self, inputs: Tensors) -> Tensor:
        return self.adapter.call(self.target, inputs, self.options)["out"]


def _compiled(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    return _compiled_by("aot_eager", adapter, built, inputs, ask)


def _generated(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    import torch._inductor.config

    # No pool of compilers: its processes would live on beside the target's.
    torch._inductor.config.compile_threads = 1
    return _compiled_by("inductor", adapter, built, inputs, ask)


def _compiled_by(backend: str, adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """A program with symbols for sizes, which meets inputs of other sizes first."""
    import torch._dynamo

    own, before = _apart(inputs)
    graphs: list[object] = []

    def counted(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, examples)

    torch._dynamo.reset()
    fast = built
    try:
        if isinstance(built, nn.Module):
            # In place: torch's wrapper hides the arguments of forward, which adapters look at.
            built.compile(backend=counted, dynamic=True)
        else:
            fast = torch.compile(built, backend=counted, dynamic=True)
        adapter.call(fast, before, ask.options)
        results = adapter.call(fast, own, ask.options)
    except Exception as error:
        _uncompile(built)
        return _refused(adapter, built, own, ask, error)
    _uncompile(built)
    # Else eager code would be compared with itself.
    return results if graphs else {**results, "refused": "torch.compile found nothing in it to compile"}


def _uncompile(built: Any) -> None:
    if isinstance(built, nn.Module):
        built._compiled_call_impl = None


def _exported(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """A program made at the other sizes answers for these."""
    own, before = _apart(inputs)
    anything = {n: dict.fromkeys(range(t.dim()), torch.export.Dim.AUTO) for n, t in before.items()}
    try:
        program = torch.export.export(
            _Program(adapter, built, ask), (before,), dynamic_shapes=(anything,), strict=False
        ).module()
        again = program(own)
    except Exception as error:
        return _refused(adapter, built, own, ask, error)
    return {**adapter.call(built, own, ask.options), "again": again}


def _mapped(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """One mapped call for both sets of inputs, beside a loop over them."""
    own, before = _apart(inputs)
    both = {n: torch.stack([own[n], before[n]]) for n in own}
    try:
        again = torch.func.vmap(_Program(adapter, built, ask))(both)
    except Exception as error:
        return _refused(adapter, built, own, ask, error)
    out = torch.stack([adapter.call(built, tensors, ask.options)["out"] for tensors in (own, before)])
    return {"out": out, "again": again}


def _functional(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """Another instance, with other weights, is called with the weights of this one."""
    if not isinstance(built, nn.Module):
        return _refused(adapter, built, inputs, ask, TypeError("a function has no weights to be replaced"))
    weights = {f"target.{n}": t for n, t in (*built.named_parameters(), *built.named_buffers())}
    try:
        other = _another(adapter, built, ask)
        again = torch.func.functional_call(_Program(adapter, other, ask), weights, (inputs,))
    except Exception as error:
        return _refused(adapter, built, inputs, ask, error)
    return {**adapter.call(built, inputs, ask.options), "again": again}


def _from_meta(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """An instance made on meta, given memory and this one's state_dict."""
    if not isinstance(built, nn.Module):
        return _refused(adapter, built, inputs, ask, TypeError("a function is not constructed"))
    tensor = next(iter(inputs.values()))
    try:
        with torch.device("meta"):
            other = adapter.build(ask.names)
        other = other.to_empty(device=tensor.device).to(tensor.dtype).train(ask.train)
        _spoil(other)
        other.load_state_dict(built.state_dict())
        again = adapter.call(other, inputs, ask.options)["out"]
    except Exception as error:
        return _refused(adapter, built, inputs, ask, error)
    return {**adapter.call(built, inputs, ask.options), "again": again}


def _spoil(module: nn.Module) -> None:
    # Memory that nobody filled may hold anything, what was there before included.
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(torch.nan if tensor.is_floating_point() else 0)


def _autocast(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask) -> Results:
    """Call under autocast to bfloat16, and plainly."""
    plain = adapter.call(built, inputs, ask.options)
    device = next(iter(inputs.values())).device.type
    try:
        with torch.autocast(device, dtype=torch.bfloat16):
            again = adapter.call(built, inputs, ask.options)["out"]
    except Exception as error:
        return _refused(adapter, built, inputs, ask, error)
    return {**plain, "again": again.float()}


def _another(adapter: Adapter, built: nn.Module, ask: Ask) -> nn.Module:
    like = next((t for t in built.parameters() if t.is_floating_point()), torch.empty(0))
    other: nn.Module = adapter.build(ask.names).to(like.device, like.dtype)
    return other.train(ask.train)


def _apart(inputs: Tensors) -> tuple[Tensors, Tensors]:
    """The question's own inputs and those that come before, which record gradients as these do."""
    own = {n: t for n, t in inputs.items() if not n.startswith(BEFORE)}
    before = {n.removeprefix(BEFORE): t for n, t in inputs.items() if n.startswith(BEFORE)}
    for name, tensor in before.items():
        tensor.requires_grad_(own[name].requires_grad)
    return own, before


def _refused(adapter: Adapter, built: Any, inputs: Tensors, ask: Ask, error: Exception) -> Results:
    lines = str(error).strip().splitlines() or [""]
    return {
        **adapter.call(built, inputs, ask.options),
        "refused": f"{type(error).__name__}: {lines[0][:200]}",
    }


TRANSFORMS: Mapping[str, Callable[[Adapter, Any, Tensors, Ask], Results]] = {
    "compiled": _compiled,
    "generated": _generated,
    "exported": _exported,
    "mapped": _mapped,
    "functional": _functional,
    "from_meta": _from_meta,
    "autocast": _autocast,
}
