"""An adapter that a person wrote says by its signatures what it takes, and by attributes the rest."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attncheck.model.errors import UsageError
from attncheck.targets.written import WrittenAdapter, written_adapter
from attnref.mechanisms.cross import Cross

SIZES = {"query_size": 2, "key_size": 3, "head_dim": 5, "v_dim": 7}


class Plain:
    """What the guide to adapters shows: build, load and call."""

    mechanism = "cross"

    def build(self, query_size: int, key_size: int, head_dim: int, v_dim: int) -> nn.Module:
        return Cross(query_size, key_size, head_dim, v_dim)

    def load(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        module.load_state_dict(dict(weights), strict=False)

    def call(self, module: nn.Module, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Any:
        return module(x, y, mask)


class WithoutLoad(Plain):
    load = property()  # type: ignore[assignment]  # taken away: hasattr is false


class Doubling(Plain):
    """Its load does more than put numbers where they belong."""

    def load(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        super().load(module, {n: 0.5 * w for n, w in weights.items()})


def adapter_of(written: type) -> WrittenAdapter:
    return written_adapter(written)


def backward(adapter: WrittenAdapter) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """A module with gradients, and the weights that were loaded into it."""
    module = adapter.build(SIZES).double()
    weights = {n: torch.randn_like(p) for n, p in module.named_parameters()}
    with torch.no_grad():
        adapter.load(module, weights, SIZES)
    x, y = torch.randn(2, 4, 2).double(), torch.randn(2, 6, 3).double()
    adapter.call(module, {"x": x, "y": y}, {})["out"].square().sum().backward()
    return module, weights


def test_what_a_call_names_is_what_the_target_takes() -> None:
    interface = adapter_of(Plain).interface

    assert dict(interface.inputs) == {"x": ("x",), "y": ("y",)}
    assert interface.takes == ("mask",)
    assert interface.loads
    assert interface.certainty == "written"
    assert interface.notes == ("adapter written by hand: Plain",)


def test_what_a_call_does_not_name_is_not_handed_over() -> None:
    adapter = adapter_of(Plain)
    module = adapter.build({**SIZES, "batch": 11}).double()
    x, y = torch.randn(2, 4, 2).double(), torch.randn(2, 6, 3).double()

    results = adapter.call(module, {"x": x, "y": y}, {"need_weights": False, "dropout": 0.5})

    assert torch.equal(results["out"], module(x, y))


def test_without_load_every_instance_has_the_same_weights() -> None:
    adapter = adapter_of(WithoutLoad)
    one, other = adapter.build(SIZES), adapter.build(SIZES)
    with torch.no_grad():
        for built in (one, other):
            adapter.load(built, {}, SIZES)

    assert not adapter.interface.loads
    assert all(
        torch.equal(a, b) and a.std() > 0 for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_gradients_come_back_under_the_names_of_the_reference() -> None:
    adapter = adapter_of(Plain)
    module, weights = backward(adapter)

    told = adapter.parameter_gradients(module, weights, SIZES)

    assert set(told) == set(weights)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(told[name], parameter.grad)  # type: ignore[arg-type]  # none is None


def test_gradients_of_weights_that_are_changed_when_loaded_are_not_told() -> None:
    adapter = adapter_of(Doubling)

    assert adapter.parameter_gradients(*backward(adapter), SIZES) == {}


class Nothing:
    """Its call takes nothing that the mechanism knows."""

    mechanism = "cross"

    def build(self) -> nn.Module:
        return nn.Identity()

    def call(self, module: nn.Module, features: Tensor) -> Tensor:
        return features


def test_a_call_without_any_input_of_the_mechanism_is_refused_with_what_it_should_take() -> None:
    expected = "the adapter's call takes features; expected x, y, or an attribute `inputs`"
    with pytest.raises(UsageError, match=expected):
        _ = adapter_of(Nothing).interface


@pytest.mark.parametrize("missing", ["mechanism", "build", "call"])
def test_what_is_missing_is_named(missing: str) -> None:
    parts = {n: getattr(Nothing, n) for n in ("mechanism", "build", "call") if n != missing}

    with pytest.raises(UsageError, match=f"the adapter has no '{missing}'; expected mechanism, build, call"):
        written_adapter(type("Incomplete", (), parts))


def test_an_unknown_mechanism_is_named_with_where_the_known_ones_are_listed() -> None:
    class Unknown(Nothing):
        mechanism = "crossed"

    with pytest.raises(UsageError, match=r"mechanism 'crossed' is unknown \(attncheck list mechanisms\)"):
        written_adapter(Unknown)
