"""Ways in which published packages build, call and fill attention, each in a small module of ours."""

import pytest
import torch
from torch import Tensor, nn

from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.errors import NoAdapterError
from attncheck.model.report import Report
from attncheck.targets import search
from attncheck.targets.discover import discover
from attnref.catalogue import BY_ID


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int, hidden: Tensor | None = None) -> Tensor:
    """Attention over `batch length (heads width)`; `hidden` is true where a key is not seen."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def judged(target: type[nn.Module] | str, mechanism: str, *checks: str) -> Report:
    """The verdicts of some checks on a class that lives here, or in a process of its own by its path."""
    isolate = isinstance(target, str)
    return run(
        Request(target, mechanism, checks=checks, budget="quick", seed=0, isolate=isolate, explain=False)
    )


class Lazy(nn.Module):
    """Widths of the inputs are read off the first call."""

    def __init__(self, num_hiddens: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.W_q = nn.LazyLinear(num_hiddens)
        self.W_k = nn.LazyLinear(num_hiddens)
        self.W_v = nn.LazyLinear(num_hiddens)
        self.W_o = nn.LazyLinear(num_hiddens)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        heads = attended(self.W_q(queries), self.W_k(keys), self.W_v(values), self.num_heads)
        out: Tensor = self.W_o(heads)
        return out


class Unprojected(nn.Module):
    """Heads are slices of the inputs; only the output has a layer."""

    def __init__(self, d_model: int, h: int) -> None:
        super().__init__()
        self.h = h
        self.fc_o = nn.Linear(d_model, d_model)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        out: Tensor = self.fc_o(attended(queries, keys, values, self.h))
        return out


class SharedMask(nn.Module):
    """One mask for all samples and heads, and no layer after the heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None or mask.dim() == 2
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        return attended(q, k, v, self.heads, mask)


class OnMaps(nn.Module):
    """Every pixel of a map with channels last attends to every other."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        q, k, v = self.qkv(x.flatten(1, 2)).chunk(3, dim=-1)
        out: Tensor = self.proj(attended(q, k, v, self.num_heads))
        return out.unflatten(1, (height, width))


@pytest.mark.parametrize("style", [Lazy, Unprojected, SharedMask, OnMaps])
def test_the_adapter_of_a_published_way_is_verified(style: type[nn.Module]) -> None:
    assert discover(style, BY_ID["multi_head"]).certainty == "verified"


def test_lazy_layers_are_free_to_take_inputs_of_any_width() -> None:
    report = judged(Lazy, "multi_head", "matches_the_reference", "parameter_gradients_match")

    assert {v.outcome for v in report.verdicts} == {"passed"}


def test_a_mask_that_samples_share_hides_a_row_of_each() -> None:
    report = judged(SharedMask, "multi_head", "dead_rows_spare_the_others")

    assert report.conforms


def test_a_layer_that_a_target_lacks_learns_nothing() -> None:
    report = judged(SharedMask, "multi_head", "parameter_gradients_match")

    assert report.conforms


class Float32(nn.Module):
    """The lowest number of the input's dtype does not fit into scores of float32."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        # As a running maximum starts in code that takes no dtype.
        torch.zeros(1, dtype=torch.float32).fill_(torch.finfo(x.dtype).min)
        out: Tensor = self.to_out(attended(q, k, v, self.heads))
        return out


def test_what_fails_in_float64_has_one_finding_and_is_judged_in_float32() -> None:
    report = judged(Float32, "multi_head")

    assert "computes in float32 alone, and is judged in it" in report.header.adapter
    assert [(v.check, v.findings[0].kind) for v in report.failed] == [
        ("output_keeps_the_dtype", "raises in float64")
    ]
    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == "passed"
    assert not any(v.outcome == "errored" for v in report.verdicts)


class InEights(nn.Module):
    """Widths of heads come in eights, which the constructor says."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads or (embed_dim // num_heads) % 8:
            raise ValueError("the width of a head must be divisible by 8")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        out: Tensor = self.out(attended(q, k, v, self.num_heads))
        return out


def test_what_a_constructor_refuses_is_a_rule_and_no_finding() -> None:
    report = judged(InEights, "multi_head", "matches_the_reference")
    cases = {v.check: v.cases for v in report.verdicts}

    assert (
        "only sizes with model_dim % (8 * heads) == 0: others are refused, rounded or padded otherwise"
        in report.header.adapter
    )
    assert report.conforms
    assert cases["matches_the_reference"] > 5


class ProjectedIfNeeded(nn.Module):
    """One head that is as wide as the model needs no output layer."""

    lost = "heads == 1 and dim_head == dim"

    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * dim_head
        self.to_qkv = nn.Linear(dim, 3 * inner, bias=False)
        needless = eval(self.lost, {"heads": heads, "dim_head": dim_head, "dim": dim})
        self.to_out = nn.Identity() if needless else nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        out: Tensor = self.to_out(attended(q, k, v, self.heads))
        return out


class NeverProjectedAlone(ProjectedIfNeeded):
    """One head loses its output layer whether it fits or not."""

    lost = "heads == 1"


def test_an_output_layer_that_is_left_out_where_it_would_fit_is_no_mistake() -> None:
    report = judged(ProjectedIfNeeded, "multi_head", "matches_the_reference", "parameter_gradients_match")

    assert report.conforms
    assert {v.outcome for v in report.verdicts} == {"passed"}


def test_an_output_layer_that_is_left_out_where_it_would_not_fit_shows_in_the_shape() -> None:
    report = judged(NeverProjectedAlone, "multi_head", "matches_the_reference")

    assert "output_has_the_right_shape" in {v.check for v in report.failed}


class SiluGate(nn.Module):
    def __init__(self, dim: int, shrinkage_rate: float = 0.25) -> None:
        super().__init__()
        hidden = max(1, int(dim * shrinkage_rate))
        self.gate = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class NormalisedGate(nn.Module):
    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(maps)))


@pytest.mark.parametrize(
    ("gate", "mechanism", "variant"),
    [(SiluGate, "squeeze_excitation", "silu_gate"), (NormalisedGate, "cbam_spatial", "normalised_gate")],
)
def test_a_documented_form_of_a_gate_deviates_by_name(
    gate: type[nn.Module], mechanism: str, variant: str
) -> None:
    report = judged(gate, mechanism)

    reasons = [v.reason for v in report.verdicts if v.check == "is_the_form_of_the_paper"]
    assert [reason.split(":")[0] for reason in reasons] == [variant]
    assert report.conforms
    assert not any(v.outcome == "errored" for v in report.verdicts)


class RootMeanSquare(nn.Module):
    """Without eps, and the gain's distance from one is learned."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5 * (self.gamma + 1)


class NormFirst(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        out: Tensor = self.to_out(attended(q, k, v, self.heads))
        return out


class NormsOfBoth(nn.Module):
    """Queries and context have a norm each, and the output one after its layer."""

    def __init__(self, dim: int, context_dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.norm, self.norm_context = RootMeanSquare(dim), nn.LayerNorm(context_dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim), nn.LayerNorm(dim, eps=1e-6))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        k, v = self.to_kv(self.norm_context(context)).chunk(2, dim=-1)
        out: Tensor = self.to_out(attended(self.to_q(self.norm(x)), k, v, self.heads))
        return out


@pytest.mark.parametrize("style", [NormFirst, NormsOfBoth])
def test_norms_inside_are_told_and_the_rest_is_judged_with_its_weights(style: type[nn.Module]) -> None:
    report = judged(style, "multi_head")

    assert any("norm inside it" in line for line in report.header.adapter)
    assert report.failed == ()
    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == "passed"
    assert not any(v.outcome == "errored" for v in report.verdicts)


class NormFirstUnscaled(NormFirst):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x)).chunk(3, dim=-1)
        out: Tensor = self.to_out(attended(q * (x.shape[-1] // self.heads) ** 0.5, k, v, self.heads))
        return out


def test_a_mistake_after_a_norm_is_found() -> None:
    report = judged(NormFirstUnscaled, "multi_head", "matches_the_reference")

    assert [v.check for v in report.failed] == ["matches_the_reference"]


class ProjectedIfOthersDiffer(nn.Module):
    """The output layer stands unless there is one head and the output is as wide as the input."""

    def __init__(self, dim: int, heads: int, dim_head: int, dim_out: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim_out) if heads > 1 or dim != dim_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        out: Tensor = self.to_out(attended(q, k, v, self.heads))
        return out


def test_an_output_layer_is_missed_only_where_what_comes_back_has_another_shape() -> None:
    report = judged(ProjectedIfOthersDiffer, "multi_head")

    assert not any("to_out.weight" in f.actual for v in report.failed for f in v.findings)
    assert {v.check for v in report.failed} <= {"output_has_the_right_shape"}


def test_norms_inside_are_told_by_a_process_of_its_own() -> None:
    report = judged(f"{__file__}:NormFirst", "multi_head", "matches_the_reference")

    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == "passed"


class NormOfHeads(nn.Module):
    """A norm between the heads and the output layer, which the reference has no place for."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.v_proj, self.out_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads = attended(self.q_proj(query), self.k_proj(key), self.v_proj(value), self.heads)
        out: Tensor = self.out_proj(self.norm(heads))
        return out


def test_a_norm_that_stands_elsewhere_is_not_accused() -> None:
    report = judged(NormOfHeads, "multi_head")

    assert report.failed == ()
    assert {v.check: v.outcome for v in report.verdicts}["matches_the_reference"] == "errored"


class KeysOfLowRank(nn.Module):
    """Keys and values come through a narrow layer, for which the reference has no place; a mask replaces causality."""

    def __init__(self, dim: int, num_heads: int, causal: bool = False) -> None:
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.q, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.narrow, self.kv = nn.Linear(dim, 3), nn.Linear(3, 2 * dim)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        k, v = self.kv(self.narrow(x)).chunk(2, dim=-1)
        hidden = None if attn_mask is None else ~attn_mask
        if self.causal and hidden is None:
            hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        out: Tensor = self.proj(attended(self.q(x), k, v, self.num_heads, hidden))
        return out


def test_the_polarity_of_a_mask_is_seen_where_weights_cannot_be_matched() -> None:
    report = judged(KeysOfLowRank, "multi_head")

    assert report.conventions["mask_polarity"] == "true_attends"
    assert [v.check for v in report.failed] == ["causal_sees_no_future"]


class LengthFirstWithoutAName(nn.Module):
    """Length stands first, and something that the forward wants is gone."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value, self.output = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        torch.einsum("ibd,jbd->ijb", self.query(query), self.key(key))
        out: Tensor = torch.gone(value)  # type: ignore[attr-defined]  # what the class is about
        return out


def test_what_never_returns_is_called_in_the_layout_that_gets_furthest() -> None:
    report = judged(LengthFirstWithoutAName, "multi_head")

    assert {f.kind for v in report.failed for f in v.findings} == {"raises AttributeError"}


class OnSequences(nn.Module):
    """Squeezes a sequence of any length, the squeezed width given by its name."""

    def __init__(self, in_channels: int, se_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(in_channels, se_channels, 1)
        self.conv2 = nn.Conv1d(se_channels, in_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 3
        gate = self.conv2(self.conv1(x.mean(dim=2, keepdim=True)).relu()).sigmoid()
        return x * gate


def test_a_gate_on_sequences_is_given_the_rows_of_an_image_one_after_another() -> None:
    found = discover(OnSequences, BY_ID["squeeze_excitation"])

    assert found.certainty == "verified"
    assert found.arguments["se_channels"] == "channels // reduction"


def test_laws_of_images_hold_for_a_gate_on_sequences() -> None:
    report = judged(OnSequences, "squeeze_excitation", "follows_pixel_order", "follows_transposed_image")

    assert report.conforms


class OfPixels(nn.Module):
    """Tokens are the pixels of a map, whose height and width are given beside them."""

    def __init__(self, dim: int, num_heads: int = 8) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, H: int, W: int) -> Tensor:  # as published
        assert x.shape[1] == H * W
        k, v = self.kv(x).chunk(2, dim=-1)
        out: Tensor = self.proj(attended(self.q(x), k, v, self.num_heads))
        return out


def test_a_height_and_a_width_are_no_keys_and_values() -> None:
    found = discover(OfPixels, BY_ID["multi_head"])

    assert found.certainty == "verified"
    assert {a.name: a.constant for a in found.call if a.constant} == {"H": "1", "W": "x.shape[1]"}


class AveragesByAProduct(nn.Module):
    """A gate over channels that is made with ones of float32, whatever comes in."""

    def __init__(self, channel: int, reduction: int = 4) -> None:
        super().__init__()
        self.squeeze, self.excite = (
            nn.Linear(channel, channel // reduction),
            nn.Linear(channel // reduction, channel),
        )

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        mean = (pixels @ torch.ones(pixels.shape[2], 1, dtype=torch.float32)).squeeze(2) / pixels.shape[2]
        return x * self.excite(self.squeeze(mean).relu()).sigmoid()[..., None, None]


def test_what_takes_one_tensor_and_computes_in_float32_alone_is_judged_in_it() -> None:
    report = run(Request(AveragesByAProduct, "squeeze_excitation", budget="quick", seed=2, explain=False))

    assert "computes in float32 alone, and is judged in it" in report.header.adapter


def of_four_axes(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Regression over a grid of points: no way to call it that is tried has so many axes."""
    rows, columns, _, _ = queries.shape
    return (queries - keys).square().neg().softmax(1).mul(values).sum((1, 3)).reshape(rows, columns)


def test_what_no_name_and_no_answer_explains_is_not_accused_of_what_it_raises() -> None:
    with pytest.raises(NoAdapterError, match="not enough values to unpack"):
        discover(of_four_axes, BY_ID["kernel_regression"])
