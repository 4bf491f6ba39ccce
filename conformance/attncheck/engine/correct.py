"""What is right and must be left alone: references, re-derivations, equivalents, and torch's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attncheck.defects import EQUIVALENTS
from attncheck.defects.defect import Defect, Mutant
from attncheck.defects.plain import PLAIN, mutant_of
from attncheck.targets.adapter import Adapter, Reference
from attncheck.targets.discover import discover
from attncheck.targets.found_adapter import FoundAdapter
from attnref.catalogue import BY_ID, MECHANISMS


@dataclass(frozen=True)
class Correct:
    """Something that is right: a name, its mechanism, and how an adapter of it is made."""

    name: str
    mechanism: str
    adapter: Callable[[], Adapter]


def correct_ones() -> tuple[Correct, ...]:
    """All of them, the slowest first."""
    slowest = (
        "multi_head",
        "modified_resnet",
        "cross",
        "scaled_dot_product",
        "non_local",
        "selective_kernel",
    )
    every = (*_own(), *TORCHS)
    return tuple(sorted(every, key=lambda item: (*slowest, item.mechanism).index(item.mechanism)))


def _own() -> tuple[Correct, ...]:
    """References, plain implementations of the same, and mutants that differ in nothing that counts."""
    return (
        *(Correct(m.id, m.id, partial(Reference, m)) for m in MECHANISMS),
        *(Correct(f"{mechanism} in plain torch", mechanism, partial(made, mechanism)) for mechanism in PLAIN),
        *(Correct(d.id, d.mechanism, partial(made, d.mechanism, d)) for d in EQUIVALENTS),
    )


def made(mechanism: str, *defects: Defect) -> Mutant:
    """The plain implementation of a mechanism, with these defects."""
    mutant = mutant_of(mechanism, *defects)
    assert mutant is not None, "defects of one mutant replace steps of their own"
    return mutant


def _with_math(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None) -> Tensor:  # fmt: skip
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)


def _with_flash(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None) -> Tensor:  # fmt: skip
    # The kernel has no dropout, no masks of less than four axes and one width for all; math does the rest.
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True):
        return scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)


class _AllWeights(torch.nn.MultiheadAttention):
    """Weights per head instead of their mean."""

    def forward(  # type: ignore[override]  # average_attn_weights and is_causal cannot be chosen
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        return super().forward(
            query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights=False
        )


@dataclass(frozen=True)
class _Discovered:
    """Adapts a target as `attncheck run` does: by finding out how it is called."""

    target: Any
    mechanism: str
    init: Mapping[str, str] = field(default_factory=dict)

    def __call__(self) -> Adapter:
        found = discover(self.target, BY_ID[self.mechanism], init=self.init)
        return FoundAdapter(found, self.target)


def _multi_head(name: str, target: Any = torch.nn.MultiheadAttention, **init: str) -> Correct:
    return Correct(
        f"torch.nn.MultiheadAttention, {name}", "multi_head", _Discovered(target, "multi_head", init)
    )


def _function(name: str, target: Any) -> Correct:
    mechanism = "scaled_dot_product"
    return Correct(f"torch's {mechanism}, {name}", mechanism, _Discovered(target, mechanism))


TORCHS: tuple[Correct, ...] = (
    _function("its own choice", scaled_dot_product_attention),
    _function("math", _with_math),
    _function("flash", _with_flash),
    _multi_head("length first"),
    _multi_head("batch first", batch_first="True"),
    _multi_head("one width", kdim="None", vdim="None"),
    _multi_head("without bias", bias="False"),
    _multi_head("weights per head", _AllWeights),
)
