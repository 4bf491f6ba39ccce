"""What a target's own source says of its arguments is believed where no name tells them."""

import inspect
from dataclasses import dataclass, field
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn

from attncheck.targets import search
from attncheck.targets.configuring import class_told, configuration, fields_said
from attncheck.targets.discover import discover
from attncheck.targets.rendering import rendered
from attncheck.targets.trying import agrees, attempt, case_for
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]


@dataclass
class OfOthersConfig:
    """Belongs to another module of this file, and says the contrary."""

    scales_its_logits: bool = False


@dataclass
class ConfiguredConfig:
    """Fields under usual names, and one that no other package has."""

    n_embd: int = 768
    n_head: int = 12
    attn_pdrop: float = 0.1
    scales_its_logits: bool = True


class Configured(nn.Module):
    """Takes its sizes from an object whose class stands in its module, unannotated."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.heads = config.n_head
        self.factor = (config.n_embd // config.n_head) ** -0.5 if config.scales_its_logits else 1.0
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.c_attn(x).chunk(3, -1))
        heads = (q @ k.mT * self.factor).softmax(-1) @ v
        out: Tensor = self.c_proj(heads.transpose(1, 2).flatten(2))
        return out


class Worded(nn.Module):
    """A required word, arguments that may be None and must be there, and a decoder that only caches."""

    def __init__(self, d_token: int, n_heads: int, initialization: str, is_decoder: bool = False) -> None:
        super().__init__()
        assert initialization in ["even", "uneven"]
        self.heads, self.is_decoder = n_heads, is_decoder
        self.W_q, self.W_k, self.W_v, self.W_out = (nn.Linear(d_token, d_token) for _ in range(4))

    def forward(
        self,
        x_q: Tensor,
        x_kv: Tensor,
        key_compression: Optional[nn.Linear],  # noqa: UP045  # as published
        value_compression: "nn.Linear | None",
    ) -> Tensor:
        assert key_compression is None
        assert value_compression is None
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.W_q, x_q), (self.W_k, x_kv), (self.W_v, x_kv))
        )
        heads = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        out: Tensor = self.W_out(heads.transpose(1, 2).flatten(2))
        return out


class ReadInTheCall(Configured):
    """A configuration that may be left out at construction, and is read later."""

    def __init__(self, embed_dim: int, num_heads: int, is_causal: bool = False, config: Any = None) -> None:
        super().__init__(ConfiguredConfig(n_embd=embed_dim, n_head=num_heads))
        self.is_causal, self.config = is_causal, config

    def forward(self, x: Tensor) -> Tensor:
        assert self.config._attn_implementation == "eager"
        return super().forward(x)


def test_the_configuration_that_is_named_like_the_target_says_what_no_name_tells() -> None:
    parameter = inspect.signature(Configured).parameters["config"]

    assert {f.name: f.default for f in fields_said(Configured, parameter)}["scales_its_logits"] is True


@dataclass
class Sizes:
    width: int
    heads: int
    kinds: list[str] = field(default_factory=lambda: ["plain"])
    names: dict[str, int] = field(default_factory=dict)


class MadeForSizes(nn.Module):
    def __init__(self, config: Sizes) -> None:
        super().__init__()


def test_a_dataclass_tells_its_fields_though_some_have_no_default() -> None:
    parameter = inspect.signature(MadeForSizes).parameters["config"]

    told = {f.name: f.default for f in fields_said(MadeForSizes, parameter)}

    assert told == {"width": inspect.Parameter.empty, "heads": inspect.Parameter.empty, "kinds": ["plain"]}
    assert class_told(MadeForSizes, parameter) == "Sizes"


def test_a_configuration_that_is_no_dataclass_may_have_further_fields() -> None:
    assert class_told(ReadInTheCall, inspect.signature(ReadInTheCall).parameters["config"]) is None


def test_a_target_with_a_field_of_its_own_is_verified() -> None:
    found = discover(Configured, MULTI_HEAD)

    assert found.certainty == "verified"
    assert found.arguments["n_embd"] == "model_dim"


def test_a_required_word_and_arguments_that_may_be_none_are_given() -> None:
    found = discover(Worded, MULTI_HEAD)

    assert found.certainty == "verified"
    assert found.arguments["initialization"] == "'even'"
    assert {a.name for a in found.call if a.constant == "None"} == {"key_compression", "value_compression"}


def test_an_argument_that_may_be_causal_and_is_not_is_left_alone() -> None:
    found = discover(Worded, MULTI_HEAD)

    assert "is_decoder" not in found.arguments
    assert "causal" not in found.takes


def test_a_configuration_that_is_read_in_the_call_is_given() -> None:
    found = discover(ReadInTheCall, MULTI_HEAD)

    assert found.certainty == "verified"
    assert "config" in found.arguments


def test_a_hint_beside_a_configuration_is_no_promise_of_causality() -> None:
    assert "causal" not in discover(ReadInTheCall, MULTI_HEAD).takes


class HandedIn(nn.Module):
    """Its layers are made by whoever builds it."""

    def __init__(
        self, num_heads: int, head_dim: int, q_proj: nn.Module, k_proj: nn.Module, v_proj: nn.Module,
        output_proj: nn.Module,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.q_proj, self.k_proj, self.v_proj, self.output_proj = q_proj, k_proj, v_proj, output_proj

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        heads = (q @ k.mT * self.head_dim**-0.5).softmax(-1) @ v
        out: Tensor = self.output_proj(heads.transpose(1, 2).flatten(2))
        return out


def test_layers_that_are_handed_in_are_made() -> None:
    found = discover(HandedIn, MULTI_HEAD)

    assert found.certainty == "verified"
    assert found.arguments["q_proj"] == "torch.nn.Linear(model_dim, heads * head_dim)"
    assert "def build(self, heads, head_dim, model_dim, **_):" in rendered(found, "package.module:HandedIn")


class OneValue(nn.Module):
    """Every head has the same values: plain attention with one head, and another function with more."""

    def __init__(self, n_head: int, d_model: int) -> None:
        super().__init__()
        width = d_model // n_head
        self.v_layer = nn.Linear(d_model, width)
        self.q_layers = nn.ModuleList(nn.Linear(d_model, width) for _ in range(n_head))
        self.k_layers = nn.ModuleList(nn.Linear(d_model, width) for _ in range(n_head))
        self.w_h = nn.Linear(width, d_model)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = [
            (one(q) @ two(k).mT * one.out_features**-0.5).softmax(-1) @ self.v_layer(v)
            for one, two in zip(self.q_layers, self.k_layers, strict=True)
        ]
        out: Tensor = self.w_h(torch.stack(heads).mean(0))
        return out


def test_a_target_that_is_right_with_one_head_alone_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 4.0)

    assert discover(OneValue, MULTI_HEAD).certainty != "verified"


class WithoutMixing(Worded):
    """One head has no output layer, and biases are an option."""

    def __init__(self, d_token: int, n_heads: int, bias: bool) -> None:
        super().__init__(d_token, n_heads, "even")
        self.W_q, self.W_k, self.W_v = (nn.Linear(d_token, d_token, bias) for _ in range(3))
        self.W_out = nn.Linear(d_token, d_token, bias) if n_heads > 1 else nn.Identity()


def test_one_head_without_output_layer_and_without_biases_has_its_weights() -> None:
    found = discover(WithoutMixing, MULTI_HEAD)
    case = case_for(found, MULTI_HEAD, {"heads": 1}, options={"bias": False})

    assert case is not None
    assert agrees(attempt(found, WithoutMixing, case).gap)


class OutputDecides(nn.Module):
    """How wide the heads are together follows from the width of the output, if that is given."""

    def __init__(
        self, query_dim: int, heads: int = 8, dim_head: int = 64, out_dim: int | None = None
    ) -> None:
        super().__init__()
        inner = heads * dim_head if out_dim is None else out_dim
        self.heads = inner // dim_head
        self.to_q, self.to_k, self.to_v = (nn.Linear(query_dim, inner) for _ in range(3))
        self.to_out = nn.Linear(inner, query_dim if out_dim is None else out_dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        heads = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        out: Tensor = self.to_out(heads.transpose(1, 2).flatten(2))
        return out


def test_a_width_that_replaces_another_is_left_alone() -> None:
    found = discover(OutputDecides, MULTI_HEAD)

    assert found.certainty == "verified"
    assert "out_dim" not in found.arguments


@dataclass
class Squeezed:
    channels: int
    reduction: int = 16

    def __post_init__(self) -> None:
        if self.channels < self.reduction:
            raise ValueError("nothing is left")

    @property
    def hidden(self) -> int:
        return self.channels // self.reduction


class OfADataclass(nn.Module):
    def __init__(self, config: Squeezed) -> None:
        super().__init__()
        self.squeeze = nn.Linear(config.channels, config.hidden, bias=False)
        self.excite = nn.Linear(config.hidden, config.channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


def test_a_dataclass_is_made_with_what_it_derives_and_refuses() -> None:
    found = discover(OfADataclass, BY_ID["squeeze_excitation"])

    assert (found.certainty, found.made_as) == ("verified", "Squeezed")
    with pytest.raises(ValueError, match="nothing is left"):
        configuration(OfADataclass, "Squeezed")(channels=2, reduction=4)


def test_a_script_imports_the_dataclass_beside_the_target() -> None:
    found = discover(OfADataclass, BY_ID["squeeze_excitation"])

    text = rendered(found, "gates:OfADataclass")

    assert "from gates import OfADataclass, Squeezed" in text
    assert "OfADataclass(Squeezed(" in text
