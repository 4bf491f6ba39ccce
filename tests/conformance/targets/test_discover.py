"""How a target is built, called and loaded is found out: the styles in which people write attention."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.errors import NoAdapterError
from attncheck.targets import search
from attncheck.targets.discover import discover
from attncheck.targets.trying import agrees, attempt, case_for
from attnref.catalogue import BY_ID


def weights(q: Tensor, k: Tensor) -> Tensor:
    """How much each query attends to each key: what the tests put a mistake in."""
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention over `batch length (heads width)`, all heads side by side."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return (weights(q, k) @ v).transpose(1, 2).flatten(2)


class Packed(nn.Module):
    """All three projections in one layer, queries first."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.proj(attended(q, k, v, self.num_heads))


class PackedValuesFirst(Packed):
    def forward(self, x: Tensor) -> Tensor:
        v, k, q = self.qkv(x).chunk(3, dim=-1)
        return self.proj(attended(q, k, v, self.num_heads))


class PackedByHead(Packed):
    """Queries, keys and values of one head stand together."""

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (self.num_heads, 3, -1))
        q, k, v = (parts[..., i, :].flatten(-2) for i in range(3))
        return self.proj(attended(q, k, v, self.num_heads))


class Separate(nn.Module):
    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.w_q = nn.Linear(d_model, d_model)
        self.w_k = nn.Linear(d_model, d_model)
        self.w_v = nn.Linear(d_model, d_model)
        self.w_o = nn.Linear(d_model, d_model)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.w_o(attended(self.w_q(query), self.w_k(key), self.w_v(value), self.n_heads))


class LengthFirst(Separate):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        turned = (t.transpose(0, 1) for t in (query, key, value))
        return super().forward(*turned).transpose(0, 1)


class Dictionary(Separate):
    """Takes and returns a dictionary."""

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]  # another style
        return {"out": super().forward(inputs["query"], inputs["key"], inputs["value"])}


class Configured(nn.Module):
    """Reads its sizes from one object and returns a tuple."""

    def __init__(self, config: object) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        width = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        q, k, v = self.query(hidden_states), self.key(hidden_states), self.value(hidden_states)
        return (attended(q, k, v, self.heads),)


class Head(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, head_dim, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return attended(self.query(x), self.key(x), self.value(x), 1)


class ListOfHeads(nn.Module):
    def __init__(self, embed_size: int, num_heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(embed_size, embed_size // num_heads) for _ in range(num_heads))
        self.proj = nn.Linear(embed_size, embed_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))


class Turned(nn.Module):
    """A linear layer whose weight stands input first."""

    def __init__(self, out: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, out))
        self.bias = nn.Parameter(torch.randn(out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class TurnedWeights(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.c_attn, self.c_proj = Turned(3 * n_embd, n_embd), Turned(n_embd, n_embd)

    def forward(self, hidden_states: Tensor) -> Tensor:
        q, k, v = self.c_attn(hidden_states).chunk(3, dim=-1)
        return self.c_proj(attended(q, k, v, self.n_head))


class MatricesOfHeads(nn.Module):
    """A matrix for each of queries, keys and values and each head, its rows the inputs."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv_weight = nn.Parameter(torch.randn(3, n_heads, width, width // n_heads))
        self.qkv_bias = nn.Parameter(torch.randn(3, n_heads, 1, width // n_heads))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        packed = torch.einsum("bnf,rhfd->rbhnd", x, self.qkv_weight) + self.qkv_bias[:, None]
        q, k, v = packed.transpose(2, 3).flatten(-2)
        return self.out(attended(q, k, v, self.n_heads))


class KeysAndValuesPacked(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        k, v = self.to_kv(context).chunk(2, dim=-1)
        return self.to_out(attended(self.to_q(x), k, v, self.heads))


class Einsums(nn.Module):
    """Parameters with an axis of heads, no layers."""

    def __init__(self, num_heads: int, features: int) -> None:
        super().__init__()
        width = features // num_heads
        for name in ("query", "key", "value"):
            self.register_parameter(f"{name}_kernel", nn.Parameter(torch.randn(features, num_heads, width)))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.randn(num_heads, width)))
        self.out_kernel = nn.Parameter(torch.randn(num_heads, width, features))
        self.out_bias = nn.Parameter(torch.randn(features))

    def forward(self, query: Tensor, value: Tensor, key: Tensor) -> Tensor:
        q, k, v = (
            torch.einsum("bnf,fhd->bhnd", t, getattr(self, f"{name}_kernel"))
            + getattr(self, f"{name}_bias")[:, None]
            for name, t in (("query", query), ("key", key), ("value", value))
        )
        return torch.einsum("bhnd,hdf->bnf", weights(q, k) @ v, self.out_kernel) + self.out_bias


class Interleaved(Separate):
    """Feature d of head h is number d · heads + h: what einops writes as `(d h)`."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads = self.n_heads
        q, k, v = (
            layer(t).unflatten(-1, (-1, heads)).transpose(-1, -2).flatten(-2)
            for layer, t in ((self.w_q, query), (self.w_k, key), (self.w_v, value))
        )
        out = attended(q, k, v, heads)
        return self.w_o(out.unflatten(-1, (heads, -1)).transpose(-1, -2).flatten(-2))


class Convolutions(nn.Module):
    """One head over sequences with channels before length, by 1×1 convolutions."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).mT for layer in (self.q, self.k, self.v))
        return self.proj_out(attended(q, k, v, self.num_heads).mT)


QKV = ("query.weight", "key.weight", "value.weight")
# Each style with its most telling tensor, the weights of the reference it is made of, and how.
STYLES: tuple[tuple[type[nn.Module], str, tuple[str, ...], str], ...] = (
    (Packed, "qkv.weight", QKV, "r (h d) i -> (r h d) i"),
    (PackedValuesFirst, "qkv.weight", QKV[::-1], "r (h d) i -> (r h d) i"),
    (PackedByHead, "qkv.weight", QKV, "r (h d) i -> (h r d) i"),
    (Separate, "w_k.weight", ("key.weight",), ""),
    (LengthFirst, "w_v.weight", ("value.weight",), ""),
    (Dictionary, "w_q.weight", ("query.weight",), ""),
    (Configured, "key.bias", ("key.bias",), ""),
    (ListOfHeads, "heads.{}.value.weight", ("value.weight",), "(h d) i -> h d i"),
    (TurnedWeights, "c_proj.weight", ("output.weight",), "o i -> i o"),
    (MatricesOfHeads, "qkv_weight", QKV, "r (h d) i -> r h i d"),
    (KeysAndValuesPacked, "to_kv.weight", QKV[1:], "r (h d) i -> (r h d) i"),
    (Einsums, "out_kernel", ("output.weight",), "o (h d) -> h d o"),
    (Interleaved, "w_q.weight", ("query.weight",), "(h d) i -> (d h) i"),
    (Convolutions, "proj_out.bias", ("output.bias",), ""),
)
CLASSES = [style[0] for style in STYLES]


@pytest.mark.parametrize(("style", "tensor", "roles", "pattern"), STYLES)
def test_a_correct_target_is_verified_and_its_weights_are_where_they_should_be(
    style: type[nn.Module], tensor: str, roles: tuple[str, ...], pattern: str
) -> None:
    found = discover(style, BY_ID["multi_head"])

    assert found.certainty == "verified"
    (placement,) = [p for p in found.placements if p.target == tensor]
    assert (placement.roles, placement.pattern) == (roles, pattern)


@pytest.mark.parametrize("style", CLASSES)
def test_what_was_found_holds_at_sizes_that_were_never_tried(style: type[nn.Module]) -> None:
    found = discover(style, BY_ID["multi_head"])
    case = case_for(found, BY_ID["multi_head"], {"batch": 5, "heads": 7, "model_dim": 21}, seed=99)

    assert case is not None
    assert agrees(attempt(found, style, case).gap)


def unscaled(q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT, dim=-1)


def over_queries(q: Tensor, k: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-2)


@pytest.mark.parametrize("mistake", [unscaled, over_queries])
@pytest.mark.parametrize("style", CLASSES)
def test_a_mistake_is_neither_verified_nor_excused_in_any_style(
    style: type[nn.Module], mistake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(attended.__globals__, "weights", mistake)
    # What is verified is verified in the first second; the rest of the search is patience.
    monkeypatch.setattr(search, "COMPARISONS", 60)
    monkeypatch.setattr(search, "SECONDS", 4.0)
    found = discover(style, BY_ID["multi_head"])

    assert found.certainty in ("named", "probed", "placed")

    monkeypatch.setattr("attncheck.targets.opening.discover", lambda *_, **__: found)
    request = Request(
        style, "multi_head", budget="quick", isolate=False, explain=False, seed=1,
        checks=("matches_the_reference",),
    )  # fmt: skip
    assert [v.check for v in run(request).failed] == ["matches_the_reference"]


class WithALeftover(Separate):
    """A layer that nothing calls, as it stays behind when code changes."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.old_projection = nn.Linear(d_model, d_model)


def test_a_layer_that_nothing_calls_does_not_hide_which_weight_is_which() -> None:
    found = discover(WithALeftover, BY_ID["multi_head"])

    assert found.certainty == "verified"
    assert found.idle == ("old_projection.weight", "old_projection.bias")
    assert "never used: old_projection.weight, old_projection.bias" in found.notes


class WithoutGamma(nn.Module):
    """Self-attention of an image that adds what was read as it is."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        return x + (v @ (q.mT @ k).softmax(-1).mT).view_as(x)


class WithAConstantGamma(WithoutGamma):
    """It starts as the identity, and stays that, for its factor is no parameter."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.0 * (super().forward(x) - x)


def test_what_has_no_factor_counts_once() -> None:
    right, wrong = (discover(t, BY_ID["spatial_self"]) for t in (WithoutGamma, WithAConstantGamma))

    assert (right.certainty, right.absent) == ("verified", ("gamma",))
    assert (wrong.certainty, wrong.absent) == ("named", ("gamma",))


class OneLayerForAll(nn.Module):
    """The list was multiplied, and so holds one layer four times."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linears = nn.ModuleList([nn.Linear(d_model, d_model)] * 4)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (layer(x) for layer, x in zip(self.linears, (query, key, value), strict=False))
        return self.linears[-1](attended(q, k, v, self.num_heads))


def test_layers_that_are_one_and_the_same_are_too_few_parameters() -> None:
    found = discover(OneLayerForAll, BY_ID["multi_head"])

    assert found.certainty != "verified"
    assert "numbers are registered as parameters, where at least" in found.lacking
    assert found.unprojected == ""


class Unbuildable(nn.Module):
    def __init__(self, shape: str) -> None:
        super().__init__()
        raise LookupError("no such shape")


def test_a_class_that_no_guess_constructs_is_refused_with_what_was_tried() -> None:
    with pytest.raises(NoAdapterError) as refusal:
        discover(Unbuildable, BY_ID["multi_head"])

    text = str(refusal.value)
    assert text.startswith("could not find out how to build and call Unbuildable as multi_head\n")
    assert "the last: LookupError: no such shape" in text
    assert "--init shape=" in text
    assert 'mechanism = "multi_head"' in text
