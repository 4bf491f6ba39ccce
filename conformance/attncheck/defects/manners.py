"""Mistakes of state, mode and gradients that any attention over keys can have."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout

from attncheck.defects.attention import Attention, softmax_of_the_living
from attncheck.defects.defect import Mistake

Options = dict[str, Any]
Triple = tuple[Tensor, Tensor, Tensor]


def _single(self: Any, logits: Tensor) -> Tensor:
    return softmax_of_the_living(logits.float()).to(logits.dtype)


def _upcast(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    return (q, k, v) if q.dtype == torch.float64 else (q.float(), k.float(), v.float())


def _reseeded(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    torch.manual_seed(0)
    return q, k, v


def _recorded(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    torch.set_grad_enabled(True)
    return q, k, v


def _defaulted(self: Any, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Triple:
    torch.set_default_dtype(torch.float64)
    return q, k, v


def _first_weights(self: Any, logits: Tensor) -> Tensor:
    kept: dict[object, Tensor] = self.__dict__.setdefault("by_shape", {})
    return kept.setdefault(logits.shape, softmax_of_the_living(logits).detach())


def _counted(self: Any, weights: Tensor, v: Tensor) -> Tensor:
    self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
    return (weights @ v).mul(1 + 0.01 * self.__dict__["calls"])


def _under_gradients(self: Any, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
    own = Attention.factor(self, q, k, v, scale)
    return 1.0 if torch.is_grad_enabled() else own


def _under_inference(self: Any, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> float:
    own = Attention.factor(self, q, k, v, scale)
    return 1.0 if torch.is_inference_mode_enabled() else own


def _in_one_buffer(self: Any, out: Tensor, weights: Tensor, need: bool) -> Any:
    # Where gradients are recorded nothing can be written into what another call has made.
    if torch.is_grad_enabled():
        return Attention.given(self, out, weights, need)
    kept: dict[object, Tensor] = self.__dict__.setdefault("results", {})
    own = kept.setdefault((out.shape, out.dtype), torch.empty_like(out))
    return Attention.given(self, own.copy_(out), weights, need)


MANNERS: tuple[Mistake, ...] = (
    Mistake(
        "softmax_in_float32",
        "The softmax is computed in float32 and cast back, which costs float64 half its digits.",
        ("huggingface/transformers#48459",),
        "kv_len > 1",
        "value",
        {"weighed": _single},
        needs="--strict",
    ),
    Mistake(
        "result_in_float32",
        "Half-precision inputs give a float32 result; cast it back to the inputs' dtype.",
        ("pytorch/pytorch#100315",),
        "always",
        "shape",
        {"prepared": _upcast},
    ),
    Mistake(
        "dropout_when_evaluating",
        "Dropout of the weights is active in eval mode; pass training=self.training.",
        ("pytorch/pytorch#124464", "huggingface/pytorch-image-models#1978"),
        "always",
        "hygiene",
        {"weighed": lambda self, logits: dropout(softmax_of_the_living(logits), 0.1, training=True)},
    ),
    Mistake(
        "global_seed_set",
        "Every call seeds torch's global generator; leave it to the caller.",
        ("Dao-AILab/flash-attention#2088",),
        "always",
        "hygiene",
        {"prepared": _reseeded},
    ),
    Mistake(
        "gradients_switched_on",
        "A call switches gradients on for the whole program; use a context manager.",
        ("defects MO",),
        "always",
        "hygiene",
        {"prepared": _recorded},
    ),
    Mistake(
        "default_dtype_changed",
        "A call changes torch's default dtype for the whole program; create tensors with a dtype.",
        ("defects MO",),
        "always",
        "hygiene",
        {"prepared": _defaulted},
    ),
    Mistake(
        "weights_kept_by_shape",
        "The weights of the first call of a shape serve all later ones; compute them anew.",
        ("ml-explore/mlx#3071",),
        "kv_len > 1",
        "hygiene",
        {"weighed": _first_weights},
    ),
    Mistake(
        "result_drifts_with_calls",
        "Each call changes a state that the next one uses; in eval mode a call leaves nothing behind.",
        ("xmu-xiaoma666/External-Attention-pytorch MUSEAttention",),
        "always",
        "hygiene",
        {"averaged": _counted},
    ),
    Mistake(
        "results_in_one_buffer",
        "The result lies in a buffer that the next call of its shape overwrites; allocate one for each call.",
        ("ROCm/torch_migraphx#247",),
        "always",
        "hygiene",
        {"given": _in_one_buffer},
    ),
    Mistake(
        "keys_detached",
        "No gradient flows to the keys; do not detach them.",
        ("facebookresearch/xformers#636",),
        "kv_len > 1",
        "gradient",
        {"scored": lambda self, q, k, factor: Attention.scored(self, q, k.detach(), factor)},
    ),
    Mistake(
        "queries_detached",
        "No gradient flows to the queries; do not detach them.",
        ("facebookresearch/xformers#636",),
        "kv_len > 1",
        "gradient",
        {"scored": lambda self, q, k, factor: Attention.scored(self, q.detach(), k, factor)},
    ),
    Mistake(
        "values_detached",
        "No gradient flows to the values; do not detach them.",
        ("facebookresearch/xformers#636",),
        "always",
        "gradient",
        {"averaged": lambda self, weights, v: weights @ v.detach()},
    ),
    Mistake(
        "last_value_gradients_dropped",
        "The backward pass forgets values beyond the last full block of eight.",
        ("FlagOpen/FlagGems#898",),
        "kv_len > 8 and kv_len % 8 != 0",
        "gradient",
        {"averaged": lambda self, weights, v: weights @ _blockwise(v)},
    ),
    Mistake(
        "scale_dropped_under_gradients",
        "The path that records gradients does not scale; both paths have to give one value.",
        ("pytorch/pytorch#97409",),
        "head_dim > 1 and kv_len > 1",
        "mode",
        {"factor": _under_gradients},
    ),
    Mistake(
        "scale_dropped_in_inference_mode",
        "The path for inference mode does not scale; both paths have to give one value.",
        ("pytorch/pytorch#190486",),
        "head_dim > 1 and kv_len > 1",
        "mode",
        {"factor": _under_inference},
    ),
    Mistake(
        "products_overflow_in_float16",
        "q kᵀ is summed in float16 before it is scaled and overflows; scale the queries first.",
        ("ultralytics/ultralytics#24990", "mlc-ai/mlc-llm#1638"),
        "head_dim > 1",
        "value",
        {"scored": lambda self, q, k, factor: (q @ k.mT) * factor},
        needs="--strict",
    ),
)


def _blockwise(v: Tensor) -> Tensor:
    whole = v.shape[-2] // 8 * 8 or v.shape[-2]
    return torch.cat([v[..., :whole, :], v[..., whole:, :].detach()], dim=-2)
