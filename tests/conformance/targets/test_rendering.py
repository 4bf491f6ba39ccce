"""A rendered adapter is Python that builds, loads and calls a target as the found one does."""

from pathlib import Path

import pytest
import torch

from attncheck.strategies.tolerance import difference
from attncheck.targets.bench import Bench
from attncheck.targets.found import Found
from attncheck.targets.found_adapter import FoundAdapter
from attncheck.targets.loading import load
from attncheck.targets.opening import find_for
from attncheck.targets.projecting import reached
from attncheck.targets.pruning import pruned
from attncheck.targets.rendering import rendered
from attncheck.targets.subject import Subject
from attncheck.targets.trying import case_for
from attncheck.targets.written import WrittenAdapter, written_adapter

SEPARATE = """
import torch
from torch import nn
class Separate(nn.Module):
    def __init__(self, d_model, num_heads, bias=True):
        super().__init__()
        self.h = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model, bias=bias) for _ in range(4))
    def forward(self, query, key, value, key_padding_mask=None, need_weights=False):
        q, k, v = (
            f(t).unflatten(-1, (self.h, -1)).transpose(1, 2)
            for f, t in ((self.q, query), (self.k, key), (self.v, value))
        )
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None], float("-inf"))
        weights = scores.softmax(-1)
        out = self.o((weights @ v).transpose(1, 2).flatten(2))
        return (out, weights) if need_weights else (out, None)
"""
PACKED = """
from torch import nn
class Packed(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))
"""
HEAD_LIST = """
import torch
from torch import nn
class Head(nn.Module):
    def __init__(self, n_embd, head_size):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(n_embd, head_size, bias=False) for _ in range(3))
    def forward(self, x):
        weights = (self.query(x) @ self.key(x).mT * self.key.out_features ** -0.5).softmax(-1)
        return weights @ self.value(x)
class Listed(nn.Module):
    def __init__(self, n_embd, num_heads):
        super().__init__()
        self.heads = nn.ModuleList(Head(n_embd, n_embd // num_heads) for _ in range(num_heads))
        self.proj = nn.Linear(n_embd, n_embd)
    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], dim=-1))
"""
LENGTH_FIRST = """
from torch import nn
class Sequential(nn.Module):
    def __init__(self, dim_x, dim_y, hidden_dim):
        super().__init__()
        self.q = nn.Linear(dim_x, hidden_dim)
        self.k, self.v = nn.Linear(dim_y, hidden_dim), nn.Linear(dim_y, hidden_dim)
    def forward(self, x, y):
        q, k, v = (t.transpose(0, 1) for t in (self.q(x), self.k(y), self.v(y)))
        return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(0, 1)
"""
CAUSAL = """
import torch
def causal_attention(q, k, v, is_causal=False, attn_mask=None):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if attn_mask is not None:
        scores = scores + attn_mask
    if is_causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    return scores.softmax(-1) @ v
"""
GROUPED = """
from torch import nn
class Grouped(nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__()
        self.width, self.group = d_model // n_heads, n_heads // n_kv_heads
        self.wq, self.wo = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.wk, self.wv = (nn.Linear(d_model, n_kv_heads * self.width) for _ in range(2))
    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, self.width)).transpose(1, 2) for f in (self.wq, self.wk, self.wv))
        k, v = (t.repeat_interleave(self.group, 1) for t in (k, v))
        weights = (q @ k.mT * self.width ** -0.5).softmax(-1)
        return self.wo((weights @ v).transpose(1, 2).flatten(2))
"""
HANDED = """
import torch
def cross_attention(x, y, wq, wk, wv):
    q, k, v = x @ wq, y @ wk, y @ wv
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
"""
PIXELS = """
import torch
from torch import nn
class Pixels(nn.Module):
    def __init__(self, dim, num_heads, height, width):
        super().__init__()
        self.num_heads, self.size = num_heads, (height, width)
        self.qkv, self.proj = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)
        self.table = nn.Parameter(torch.zeros((2 * height - 1) * (2 * width - 1), num_heads))
        rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
        down = rows[:, None] - rows + height - 1
        self.register_buffer("index", down * (2 * width - 1) + columns[:, None] - columns + width - 1)
    def forward(self, x):
        assert x.shape[2:] == self.size
        q, k, v = (t.unflatten(1, (self.num_heads, -1)).flatten(3) for t in self.qkv(x).chunk(3, 1))
        logits = q.mT @ k * q.shape[2] ** -0.5 + self.table[self.index].permute(2, 0, 1)
        return self.proj((v @ logits.softmax(-1).mT).flatten(1, 2).unflatten(2, self.size))
"""
KERNELS = """
import torch
from torch import nn
class Gate(nn.Module):
    def __init__(self, kernel_size):
        super().__init__()
        self.mean, self.peak = (
            nn.Conv2d(1, 1, kernel_size, padding=kernel_size // 2, bias=False) for _ in range(2)
        )
    def forward(self, x):
        return x * torch.sigmoid(self.mean(x.mean(1, keepdim=True)) + self.peak(x.amax(1, keepdim=True)))
"""
POINTS = """
from torch import nn
class Smoother(nn.Module):
    def forward(self, queries, keys, values):
        batch, _, width = queries.shape
        squares = (queries[:, :, None] - keys[:, None]).square().sum(-1)
        return ((-squares / 2).softmax(-1) @ values).reshape(batch, -1, width)
"""
MAPS = """
def of_maps(query, key, value):
    weights = (query.flatten(2).mT @ key.flatten(2)).softmax(-1)
    return (value.flatten(2) @ weights.mT).unflatten(2, query.shape[2:])
"""
OFFSETS = """
import torch
from torch import nn
class Offsets(nn.Module):
    def __init__(self, dim, num_heads, length):
        super().__init__()
        assert dim % num_heads == 0
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.zeros(num_heads, 2 * length - 1))
    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        place = torch.arange(x.shape[1])
        logits = q @ k.mT * q.shape[-1] ** -0.5 + self.table[:, place[:, None] - place]
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
"""
POOL = """
import torch
from torch import nn
class Pool(nn.Module):
    def __init__(self, size, width, heads, out_dim):
        super().__init__()
        self.pos = nn.Parameter(torch.randn(size**2 + 1, width))
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.out = nn.Linear(width, out_dim)
    def forward(self, x):
        seq = x.flatten(2).mT
        seq = torch.cat((seq.mean(1, keepdim=True), seq), dim=1) + self.pos
        return self.out(self.attn(seq[:, :1], seq, seq, need_weights=False)[0].squeeze(1))
"""
LAST = """
import torch
from torch import nn
class Last(nn.Module):
    def __init__(self, heads, d_model):
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(0.1)
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))
    def forward(self, query, key, value, mask=None):
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1))
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        scores = torch.einsum("ibhd,jbhd->ijbh", q, k) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))
        return self.output(torch.einsum("ijbh,jbhd->ibhd", self.drop(scores.softmax(1)), v).flatten(2))
"""
HEADLESS = """
import torch
def of_three_axes(query, key, value, mask=None):
    logits = torch.bmm(query, key.transpose(1, 2)) / query.shape[2] ** 0.5
    if mask is not None:
        logits = logits.masked_fill(mask, float("-inf"))
    return torch.bmm(logits.softmax(2), value)
"""
STYLES = {
    "Last": (LAST, "multi_head"),
    "of_three_axes": (HEADLESS, "scaled_dot_product"),
    "Separate": (SEPARATE, "multi_head"),
    "Packed": (PACKED, "multi_head"),
    "Listed": (HEAD_LIST, "multi_head"),
    "Grouped": (GROUPED, "multi_head"),
    "Sequential": (LENGTH_FIRST, "cross"),
    "causal_attention": (CAUSAL, "scaled_dot_product"),
    "cross_attention": (HANDED, "cross"),
    "Pixels": (PIXELS, "relative_position"),
    "Gate": (KERNELS, "cbam_spatial"),
    "Smoother": (POINTS, "kernel_regression"),
    "of_maps": (MAPS, "spatial_self"),
    "Pool": (POOL, "attention_pool"),
    "Offsets": (OFFSETS, "relative_position"),
}


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Found, str]:
    """What was found of one style, and the target's path."""
    name = request.param
    source, mechanism = STYLES[name]
    path = tmp_path / f"styled_{name.lower()}.py"
    path.write_text(source)
    target = f"{path}:{name}"
    found = find_for(load(target), target, mechanism, {}, lambda _: None)
    assert found.certainty == "verified"
    return pruned(found, reached(load(target), found)), target


def written(found: Found, target: str) -> WrittenAdapter:
    """The adapter that the rendered source defines."""
    place = Path(target.rpartition(":")[0])
    file = place.with_name(f"adapter_of_{place.name}")
    file.write_text(rendered(found, target))
    return written_adapter(load(f"{file}:Adapter"))


def test_the_interface_is_the_found_one(style: tuple[Found, str]) -> None:
    found, target = style
    expected = FoundAdapter(found, reached(load(target), found)).interface

    actual = written(found, target).interface

    for name in ("inputs", "absent", "identity", "derived", "fixed", "loads", "gives", "varies", "maskings",
                 "exclusive", "conventions", "ranks", "lacking", "shared", "is_module"):  # fmt: skip
        assert getattr(actual, name) == getattr(expected, name), name
    options = {option.name for option in FoundAdapter(found, None).mechanism.contract.options}
    # A height that is no option is a size, which nobody chooses as one.
    assert set(actual.takes) == set(expected.takes) - ({"height"} - options)
    assert set(actual.free) == set(expected.free)


@pytest.mark.parametrize("masking", ["", "padding_mask"])
@pytest.mark.parametrize("causal", [False, True])
def test_answers_and_gradients_are_the_found_adapters(
    style: tuple[Found, str], masking: str, causal: bool
) -> None:
    found, target = style
    adapter = FoundAdapter(found, reached(load(target), found))
    subject = Subject(adapter.mechanism, adapter.interface)
    masking = masking if subject.masking else ""
    options = {"causal": causal and not masking} if "causal" in found.takes else {}
    case = case_for(found, adapter.mechanism, {}, options=options, masking=masking)
    assert case is not None
    ask = subject.ask(case, gradients=(*subject.inputs, *subject.parameters(case)))

    expected, actual = Bench(adapter).perform(ask), Bench(written(found, target)).perform(ask)

    assert expected.trouble is None
    assert actual.trouble is None
    assert actual.tensors.keys() == expected.tensors.keys() - {f"grad.{n}" for n in found.absent}
    for name, tensor in actual.tensors.items():
        # The same operations on the same numbers: not one bit may differ but for the order of sums.
        assert difference(tensor, expected.tensors[name]).gap < 1e-12, name


def test_a_configuration_lists_only_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "styled_config.py"
    path.write_text(PACKED)
    target = f"{path}:Packed"

    found = pruned(find_for(load(target), target, "multi_head", {}, lambda _: None), load(target))

    assert dict(found.arguments) == {"n_embd": "model_dim", "n_head": "heads"}
    assert "Packed(SimpleNamespace(n_embd=model_dim, n_head=heads))" in rendered(found, target)


def test_a_module_of_a_package_is_imported_by_name() -> None:
    target = "torch.nn.functional:scaled_dot_product_attention"
    found = find_for(load(target), target, "scaled_dot_product", {}, lambda _: None)

    source = rendered(found, target)

    assert "from torch.nn.functional import scaled_dot_product_attention" in source
    assert "sys.path" not in source
    assert len(source.splitlines()) < 40


def test_gradients_are_not_told_where_load_does_arithmetic(tmp_path: Path) -> None:
    class Doubled:
        mechanism = "cross"

        def build(self, query_size: int, key_size: int, hidden: int) -> torch.nn.Module:
            return torch.nn.Linear(query_size, hidden)

        def load(self, module: torch.nn.Linear, weights: dict[str, torch.Tensor]) -> None:
            module.weight.copy_(weights["query.weight"] * 2)

        def call(self, module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return module(x)

    adapter = written_adapter(Doubled)
    names = {"query_size": 3, "key_size": 5, "hidden": 2}
    weights = {"query.weight": torch.zeros(2, 3, dtype=torch.float64)}

    assert adapter.parameter_gradients(adapter.build(names), weights, names) == {}
