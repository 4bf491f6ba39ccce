"""How sizes, tables and kernels are spelled: each spelling is found, and what it says is right."""

import inspect
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softmax, unfold

from attncheck.targets import search
from attncheck.targets.adapter import constructor_axes
from attncheck.targets.constructing import constructions
from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attncheck.targets.wanting import choices_for
from attnref.catalogue import BY_ID


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is verified is verified in the first second; the rest of a search is patience."""
    monkeypatch.setattr(search, "SECONDS", 4.0)


def found(target: type[nn.Module], mechanism: str) -> Found:
    return discover(target, BY_ID[mechanism])


class Biased(nn.Module):
    """Self-attention with a bias of its own for each offset."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError("heads share the width evenly")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def bias(self) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = softmax(q @ k.mT * q.shape[-1] ** -0.5 + self.bias(), -1)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class CalledABias(Biased):
    """The table is a parameter that is called a bias, heads first."""

    def __init__(self, dim: int, heads: int, seq_len: int) -> None:
        super().__init__(dim, heads)
        self.rel_bias = nn.Parameter(torch.randn(heads, 2 * seq_len - 1))
        position = torch.arange(seq_len)
        self.register_buffer("index", position[:, None] - position + seq_len - 1)

    def bias(self) -> Tensor:
        return self.rel_bias[:, self.index]


class TablesInAList(Biased):
    """Every head has a table of its own, which counts from the other end."""

    def __init__(self, dim: int, heads: int, num_tokens: int) -> None:
        super().__init__(dim, heads)
        self.tables = nn.ParameterList([torch.randn(2 * num_tokens - 1) for _ in range(heads)])
        position = torch.arange(num_tokens)
        self.register_buffer("index", position - position[:, None] + num_tokens - 1)

    def bias(self) -> Tensor:
        return torch.stack([table[self.index] for table in self.tables])


class SquareWindow(Biased):
    """One number is both sides of the window."""

    def __init__(self, dim: int, heads: int, window_size: int) -> None:
        super().__init__(dim, heads)
        side = 2 * window_size - 1
        self.table = nn.Parameter(torch.randn(side**2, heads))
        pixel = torch.cartesian_prod(torch.arange(window_size), torch.arange(window_size))
        offset = pixel[:, None] - pixel + window_size - 1
        self.register_buffer("index", offset[..., 0] * side + offset[..., 1])

    def bias(self) -> Tensor:
        return self.table[self.index].permute(2, 0, 1)


class Unfolded(nn.Module):
    """The convolution of the spatial gate as a linear layer over windows."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.size = kernel_size
        self.proj = nn.Linear(2 * kernel_size**2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        windows = unfold(seen, self.size, padding=self.size // 2).mT
        return x * self.proj(windows).sigmoid().mT.reshape(x.shape[0], 1, *x.shape[2:])


class KernelForEachMap(nn.Module):
    """The convolution of the spatial gate in two: one kernel reads the means, one the maxima."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.of_maximum, self.of_mean = (
            nn.Conv2d(1, 1, kernel_size, padding=kernel_size // 2, bias=False) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores = self.of_mean(x.mean(1, keepdim=True)) + self.of_maximum(x.amax(1, keepdim=True))
        return x * scores.sigmoid()


class VectorForEachMap(nn.Module):
    """The same over windows that are unfolded, with one bias."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.size = kernel_size
        self.average, self.peak = (nn.Parameter(torch.randn(kernel_size**2)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        seen = (x.mean(1, keepdim=True), x.amax(1, keepdim=True))
        average, peak = (unfold(each, self.size, padding=self.size // 2) for each in seen)
        scores = self.average @ average + self.peak @ peak + self.bias
        return x * scores.sigmoid().reshape(x.shape[0], 1, *x.shape[2:])


class PositionsInTwo(nn.Module):
    """Pooling whose mean and pixels have positions of their own, and whose heads are told by their width."""

    def __init__(self, spatial_dim: int, embed_dim: int, num_heads_channels: int, output_dim: int) -> None:
        super().__init__()
        self.width = num_heads_channels
        self.of_mean = nn.Parameter(torch.randn(embed_dim))
        self.of_map = nn.Parameter(torch.randn(embed_dim, spatial_dim, spatial_dim))
        self.qkv = nn.Conv1d(embed_dim, 3 * embed_dim, 1)
        self.proj = nn.Linear(embed_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3)) + self.of_mean
        tokens = torch.cat([mean[:, :, None], (x + self.of_map).flatten(2)], 2)
        q, k, v = (t.unflatten(1, (-1, self.width)) for t in self.qkv(tokens).chunk(3, 1))
        weights = softmax(q[..., :1].mT @ k * self.width**-0.5, -1)
        return self.proj((v @ weights.mT).flatten(1))


class TakenApart(nn.Module):
    """A window whose two sides are one argument, of a name that tells nothing."""

    def __init__(self, heads: int, extent: tuple[int, int], dim: int) -> None:
        super().__init__()
        down, across = extent
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn((2 * down - 1) * (2 * across - 1), heads))
        rows, columns = torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij")
        apart = [p.flatten()[:, None] - p.flatten() + p.max() for p in (rows, columns)]
        self.register_buffer("index", apart[0] * (2 * across - 1) + apart[1])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.mT * q.shape[-1] ** -0.5 + self.table[self.index].permute(2, 0, 1)
        return self.proj((softmax(logits, -1) @ v).transpose(1, 2).flatten(2))


@dataclass
class Widths:
    """What is handed on as it comes."""

    channels: int
    ratio: int = 4


class HandsOn(nn.Module):
    """A gate whose settings are kept by a class of their own."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        kept = Widths(**settings)
        self.down = nn.Linear(kept.channels, kept.channels // kept.ratio)
        self.up = nn.Linear(kept.channels // kept.ratio, kept.channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3))).relu()).sigmoid()[..., None, None]


class InOneParameter(nn.Module):
    """A non-local block over tokens whose projections are one matrix, and their biases one vector."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.in_proj = nn.Parameter(torch.randn(3 * inner, channels))
        self.in_bias = nn.Parameter(torch.zeros(3 * inner))
        self.out_proj = nn.Parameter(torch.randn(channels, inner))
        self.out_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = linear(x.flatten(2).mT, self.in_proj, self.in_bias).chunk(3, dim=-1)
        y = linear(softmax(q @ k.mT, -1) @ v, self.out_proj, self.out_bias)
        return x + y.mT.reshape(x.shape)


class SelectiveOfOneWidth(nn.Module):
    """Full kernels, a bias before the norm of the gate, and a gate as wide for any number of channels."""

    def __init__(self, planes: int, M: int = 2) -> None:  # as papers call it
        super().__init__()
        self.split = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(planes, planes, 3 + 2 * i, padding=1 + i), nn.BatchNorm2d(planes), nn.ReLU()
            )
            for i in range(M)
        )
        self.fuse = nn.Sequential(nn.Linear(planes, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.select = nn.ModuleList(nn.Linear(8, planes, bias=False) for _ in range(M))

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([branch(x) for branch in self.split])
        z = self.fuse(branches.sum(0).mean((2, 3)))
        weights = softmax(torch.stack([layer(z) for layer in self.select]), 0)
        return (weights[..., None, None] * branches).sum(0)


class Concatenated(nn.Module):
    """One weight for queries above keys, as a matrix from features to hidden units."""

    def __init__(self, query_dim: int, key_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(query_dim + key_dim, hidden_dim))
        self.score = nn.Parameter(torch.randn(hidden_dim))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from_q, from_k = self.weight.split([q.shape[-1], k.shape[-1]])
        hidden = (q @ from_q).unsqueeze(2) + (k @ from_k).unsqueeze(1)
        return softmax(hidden.tanh() @ self.score, -1) @ v


class Configured(nn.Module):
    """The widths of inputs have fields of their own, so `hidden_size` is none of them."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.query = nn.Linear(config.query_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.key_size, config.hidden_size, bias=False)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        hidden = self.query(q).unsqueeze(2) + self.key(k).unsqueeze(1)
        return softmax(self.score(hidden.tanh()).squeeze(-1), -1) @ v


@dataclass
class Settings:
    """Names that nobody else uses, and one that tells."""

    breadth: int = 32
    reduction: int = 4


class Settled(nn.Module):
    """A channel gate whose configuration has a default, and a field with a name that tells nothing."""

    def __init__(self, config: Settings | None = None) -> None:
        super().__init__()
        config = config or Settings()
        reduced = config.breadth // config.reduction
        self.fc = nn.Sequential(
            nn.Linear(config.breadth, reduced), nn.ReLU(), nn.Linear(reduced, config.breadth)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3))).sigmoid()[..., None, None]


class WithItsOwnWidth(nn.Module):
    """One head whose width may be told, and is that of x by default; the scale is wrong where they differ."""

    def __init__(self, emb: int, side: int, inner: int | None = None) -> None:
        super().__init__()
        inner = emb if inner is None else inner
        self.emb = emb
        self.to_q = nn.Linear(emb, inner)
        self.to_k = nn.Linear(side, inner)
        self.to_v = nn.Linear(side, inner)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(y), self.to_v(y)
        return softmax(q @ k.mT * self.emb**-0.5, -1) @ v


class InBlocks(nn.Module):
    """Queries are worked through four at a time."""

    def __init__(self, query_size: int, key_size: int, num_hiddens: int, block_size: int = 4) -> None:
        super().__init__()
        self.block_size = block_size
        self.w_q = nn.Linear(query_size, num_hiddens)
        self.w_k = nn.Linear(key_size, num_hiddens)
        self.w_v = nn.Linear(num_hiddens, 1)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = []
        for block in queries.split(self.block_size, 1):
            hidden = self.w_q(block).unsqueeze(2) + self.w_k(keys).unsqueeze(1)
            parts.append(softmax(self.w_v(hidden.tanh()).squeeze(-1), -1) @ values)
        return torch.cat(parts, 1)


@pytest.mark.parametrize(
    ("target", "mechanism"),
    [
        (CalledABias, "relative_position"),
        (TablesInAList, "relative_position"),
        (SquareWindow, "relative_position"),
        (PositionsInTwo, "attention_pool"),
        (InOneParameter, "non_local"),
        (TakenApart, "relative_position"),
        (HandsOn, "squeeze_excitation"),
        (SelectiveOfOneWidth, "selective_kernel"),
        (Unfolded, "cbam_spatial"),
        (KernelForEachMap, "cbam_spatial"),
        (VectorForEachMap, "cbam_spatial"),
        (Concatenated, "additive"),
        (Configured, "additive"),
        (Settled, "squeeze_excitation"),
    ],
)
def test_a_right_one_is_verified_however_it_is_spelled(target: type[nn.Module], mechanism: str) -> None:
    assert found(target, mechanism).certainty == "verified"


def test_a_width_that_no_number_of_channels_makes_greater_is_told_so() -> None:
    derived = found(SelectiveOfOneWidth, "selective_kernel").derived

    assert (derived["reduction"], derived["least_reduced"]) == ("channels + 1", "8")


@pytest.mark.parametrize(
    ("mechanism", "argument", "default", "expression"),
    [
        ("modified_resnet", "stage_blocks", inspect.Parameter.empty, "(2, 3, 1, 1)[:stages]"),
        ("modified_resnet", "anything", (3, 4, 6, 3), "(2, 3, 1, 1)[:stages]"),
        ("modified_resnet", "image_width", 224, "(width + 1) // 2 ** (stages + 1) * 2 ** (stages + 1)"),
        ("modified_resnet", "n_width", 64, "hidden"),
        ("attention_pool", "num_heads_channels", inspect.Parameter.empty, "channels // heads"),
        ("relative_position", "dim_head", 64, "model_dim // heads"),
        ("cbam_block", "hidden", 4, "out_channels // reduction"),
        ("selective_kernel", "d", 8, "max(channels // reduction, least_reduced)"),
        ("selective_kernel", "num_kernels", 2, "branches"),
        ("cross", "v_out", None, "v_dim"),
        ("multi_head", "device", inspect.Parameter.empty, "'cpu'"),
    ],
)
def test_an_argument_wants_what_its_name_and_default_say(
    mechanism: str, argument: str, default: object, expression: str
) -> None:
    parameter = inspect.Parameter(argument, inspect.Parameter.KEYWORD_ONLY, default=default)

    likeliest = choices_for(parameter, BY_ID[mechanism], constructor_axes(BY_ID[mechanism]))[0][0]

    assert likeliest == expression


def test_a_width_that_may_be_told_is_told_though_the_target_is_right_without() -> None:
    adapter = found(WithItsOwnWidth, "cross")

    assert "inner" in adapter.arguments
    assert adapter.certainty != "verified"


def test_a_temperature_that_is_left_out_by_default_is_left_out() -> None:
    def attend(temperature: float | None = None) -> None: ...

    ways = constructions(attend, BY_ID["scaled_dot_product"], ("head_dim",), {})

    assert [way.arguments for way in ways] == [{}]


def test_a_window_of_one_number_has_as_many_tokens_as_its_square() -> None:
    adapter = found(SquareWindow, "relative_position")

    assert adapter.arguments["window_size"] == "height"
    assert adapter.derived["tokens"] == "height * height"


def test_a_block_that_has_a_size_of_its_own_keeps_it() -> None:
    assert "block_size" not in found(InBlocks, "additive").arguments


class OfALongest(InBlocks):
    """The same name for the longest sequence that the mask is made for."""

    def __init__(self, query_size: int, key_size: int, num_hiddens: int, block_size: int = 64) -> None:
        super().__init__(query_size, key_size, num_hiddens)
        self.register_buffer("allowed", torch.ones(block_size, block_size))


def test_a_block_that_a_mask_is_made_of_is_as_long_as_the_longest() -> None:
    # Not always as long: few sequences are the longest, some are.
    assert found(OfALongest, "additive").arguments["block_size"] == "max(q_len, kv_len) + q_len % 3"


def test_heads_by_name_are_never_another_size() -> None:
    mechanism = BY_ID["relative_position"]
    ways = constructions(CalledABias, mechanism, ("model_dim", "tokens", "heads", "height"), {})

    assert {way.arguments["heads"] for way in ways} == {"heads"}


def test_a_resolution_is_a_multiple_of_what_the_stages_divide_by() -> None:
    def network(layers: tuple[int, ...], width: int, input_resolution: int = 224) -> None: ...

    (likeliest, *_) = constructions(network, BY_ID["modified_resnet"], ("hidden", "height", "width"), {})

    assert likeliest.arguments["input_resolution"] == "(height + 1) // 2 ** (stages + 1) * 2 ** (stages + 1)"


class FloorOfItsOwn(nn.Module):
    """Two branches of dilated convolutions; the gate keeps at least five maps, which no argument says."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        reduced = max(channels // reduction, 5)
        self.convs = nn.ModuleList([self.branch(channels, 1), self.branch(channels, 2)])
        self.fc = nn.Sequential(nn.Linear(channels, reduced, bias=False), nn.BatchNorm1d(reduced), nn.ReLU())
        self.fcs = nn.ModuleList([nn.Linear(reduced, channels) for _ in range(2)])

    def branch(self, channels: int, dilation: int) -> nn.Module:
        conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.stack([conv(x) for conv in self.convs], 1)
        squeezed = self.fc(seen.sum(1).mean((2, 3)))
        gates = torch.stack([fc(squeezed) for fc in self.fcs], 1).softmax(1)
        return (seen * gates[..., None, None]).sum(1)


def test_the_least_that_a_squeeze_leaves_is_read_off_the_shapes() -> None:
    assert found(FloorOfItsOwn, "selective_kernel").derived["least_reduced"] == "5"


class AnyRank(nn.Module):
    """A mask may lack the heads axis."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError("heads share the width evenly")
        self.heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, t in ((self.w_q, q), (self.w_k, k), (self.w_v, v))
        )
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~self.with_heads(mask), torch.finfo(scores.dtype).min)
        out: Tensor = self.w_o((softmax(scores, -1) @ v).transpose(1, 2).flatten(2))
        return out

    def with_heads(self, mask: Tensor) -> Tensor:
        return mask[:, None] if mask.dim() == 3 else mask


class OneRank(AnyRank):
    """A mask has all four axes."""

    def with_heads(self, mask: Tensor) -> Tensor:
        return mask


@pytest.mark.parametrize(("target", "lower"), [(AnyRank, True), (OneRank, False)])
def test_masks_without_heads_are_handed_over_where_they_are_read_so(
    target: type[nn.Module], lower: bool
) -> None:
    adapter = found(target, "multi_head")

    assert adapter.mask is not None
    assert adapter.mask.lower == lower
