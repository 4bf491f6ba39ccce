"""Functions that are handed their weights are judged as modules that own them."""

import inspect
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear

import attncheck
from attncheck.model.errors import NoAdapterError, UsageError
from attncheck.targets.discover import discover
from attncheck.targets.found import Found
from attncheck.targets.handing import ways_to_own
from attncheck.targets.opening import find_for
from attncheck.targets.owning import owning
from attncheck.targets.projecting import reached
from attnref.catalogue import BY_ID, MECHANISMS


def found_in(function, mechanism: str) -> Found:
    return find_for(function, function.__name__, mechanism, {}, lambda _: None)


def additive(q: Tensor, k: Tensor, v: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    scores = torch.tanh(linear(q, w_q)[:, :, None] + linear(k, w_k)[:, None]) @ w_v
    return scores.softmax(-1) @ v


def turned(x: Tensor, y: Tensor, wk: Tensor, wq: Tensor, wv: Tensor) -> Tensor:
    q, k = x @ wq, y @ wk
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ (y @ wv)


def spelled_out(x: Tensor, context: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> Tensor:
    return turned(x, context, w_key, w_query, w_value)


def single(x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> Tensor:  # as in tutorials
    q, k = x @ w_query, x @ w_key
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ (x @ w_value)


def single_scaled_by_the_input(x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> Tensor:
    return single(x, w_query * (w_query.shape[1] / x.shape[-1]) ** 0.5, w_key, w_value)


def square(x: Tensor, wq: Tensor, wk: Tensor, wv: Tensor, wo: Tensor, heads: int) -> Tensor:
    d = x.shape[-1] // heads
    q, k, v = ((x @ w).reshape(*x.shape[:2], heads, d).transpose(1, 2) for w in (wq, wk, wv))
    return ((q @ k.mT / d**0.5).softmax(-1) @ v).transpose(1, 2).reshape(x.shape) @ wo


def headed(x: Tensor, Wq: Tensor, Wk: Tensor, Wv: Tensor, Wo: Tensor, n_heads: int) -> Tensor:  # as published
    q, k, v = ((x @ w).unflatten(-1, (n_heads, -1)).transpose(1, 2) for w in (Wq, Wk, Wv))
    out = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2) @ Wo


def squeezed(x: Tensor, w1: Tensor, w2: Tensor, b1: Tensor | None = None, b2: Tensor | None = None) -> Tensor:
    gate = linear(linear(x.mean((2, 3)), w1, b1).relu(), w2, b2).sigmoid()
    return x * gate[:, :, None, None]


def by_letters(x, wf, wg, wh, gamma):
    """The letters of the paper, whose f asks nothing: it is asked."""
    f, g, h = (w @ x.flatten(2) for w in (wf, wg, wh))
    weights = torch.softmax(f.mT @ g, 1)
    return gamma * (h @ weights).reshape(x.shape) + x


def residual(
    x: Tensor, query_weight: Tensor, key_weight: Tensor, value_weight: Tensor, gamma: Tensor
) -> Tensor:
    q, k, v = (conv2d(x, w[:, :, None, None]).flatten(2) for w in (query_weight, key_weight, value_weight))
    return x + gamma * (v @ (q.mT @ k).softmax(-1).mT).reshape(x.shape)


def over_pixels(
    x: Tensor, query_weight: Tensor, key_weight: Tensor, value_weight: Tensor, output_weight: Tensor,
    query_bias: Tensor | None = None, key_bias: Tensor | None = None, value_bias: Tensor | None = None,
    output_bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    def project(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = tokens @ weight.T
        return out if bias is None else out + bias

    tokens = x.flatten(2).mT
    q, k = project(tokens, query_weight, query_bias), project(tokens, key_weight, key_bias)
    read = (q @ k.mT).softmax(-1) @ project(tokens, value_weight, value_bias)
    return x + project(read, output_weight, output_bias).mT.reshape(x.shape)


def by_entries(x: Tensor, y: Tensor, params: dict[str, Tensor]) -> Tensor:
    q, k, v = linear(x, params["wq"]), linear(y, params["wk"]), linear(y, params["wv"], params.get("bv"))
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


class Weights(NamedTuple):
    w_q: Tensor
    w_k: Tensor
    w_v: Tensor


def by_fields(x: Tensor, y: Tensor, weights: Weights) -> Tensor:
    q, k, v = linear(x, weights.w_q), linear(y, weights.w_k), linear(y, weights.w_v)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def scaled_by_beta(x: Tensor, beta: Tensor) -> Tensor:
    flat = x.flatten(2)
    return x + beta * ((flat @ flat.mT).softmax(-1) @ flat).view_as(x)


def by_heads(
    q: Tensor, k: Tensor, v: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, b_q: Tensor
) -> Tensor:  # heads first, as published
    q, k, v = (torch.einsum("bnd,hdk->bhnk", t, w) for t, w in ((q, w_q), (k, w_k), (v, w_v)))
    scores = (q + b_q[:, None]) @ k.mT / w_q.shape[-1] ** 0.5
    return torch.einsum("bhnv,hvo->bno", scores.softmax(-1) @ v, w_o)


def in_one(x: Tensor, context: Tensor, w_q: Tensor, w_kv: Tensor) -> Tensor:
    q, (k, v) = linear(x, w_q), linear(context, w_kv).chunk(2, -1)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def in_one_turned(x: Tensor, context: Tensor, w_q: Tensor, w_kv: Tensor) -> Tensor:
    return in_one(x, context, w_q.mT, w_kv.mT)


def all_in_one(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, in_proj_weight: Tensor,
    in_proj_bias: Tensor | None = None, out_proj_weight: Tensor | None = None, out_proj_bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    weights, biases = in_proj_weight.chunk(3), (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    given = zip((query, key, value), weights, biases, strict=True)
    q, k, v = (linear(*each).unflatten(-1, (num_heads, -1)).transpose(1, 2) for each in given)
    out = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    out = out.transpose(1, 2).flatten(2)
    return out if out_proj_weight is None else linear(out, out_proj_weight, out_proj_bias)


def gated(x: Tensor, fc1: Tensor, fc2: Tensor) -> Tensor:  # kernels of one pixel
    descriptors = (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
    return x * sum(conv2d(conv2d(each, fc1).relu(), fc2) for each in descriptors).sigmoid()


def gated_twice(x: Tensor, fc1: Tensor, fc2: Tensor) -> Tensor:
    descriptors = (x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
    return x * sum(conv2d(conv2d(each, fc1).relu(), fc2).sigmoid() for each in descriptors)


def with_biases(x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    hidden = linear(x.mean((2, 3)), weights["w0"], weights["b0"]).relu()
    return x * linear(hidden, weights["w1"], weights["b1"]).sigmoid()[:, :, None, None]


def over_windows(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    seen = torch.stack([x.mean(1), x.amax(1)], 1)
    return x * conv2d(seen, kernel, bias, padding=kernel.shape[-1] // 2).sigmoid()


def over_time(signal: Tensor, w_theta: Tensor, w_phi: Tensor, w_g: Tensor, w_out: Tensor) -> Tensor:
    q, k, v = w_theta @ signal, w_phi @ signal, w_g @ signal
    return signal + w_out @ (v @ (q.mT @ k).softmax(-1).mT)


@pytest.mark.parametrize(
    ("function", "mechanism", "owned"),
    [
        (by_heads, "multi_head", {"w_q": "query.weight.hid", "w_k": "key.weight.hid", "w_v": "value.weight.hid",
                                  "w_o": "output.weight.hdo", "b_q": "query.bias.hd"}),
        (in_one, "cross", {"w_q": "query.weight", "w_kv": "key.weight+value.weight"}),
        (in_one_turned, "cross", {"w_q": "query.weight.T", "w_kv": "key.weight+value.weight.T"}),
        (all_in_one, "multi_head", {"in_proj_weight": "query.weight+key.weight+value.weight",
                                    "in_proj_bias": "query.bias+key.bias+value.bias", "num_heads": "heads",
                                    "out_proj_weight": "output.weight", "out_proj_bias": "output.bias"}),
        (gated, "cbam_channel", {"fc1": "squeeze.weight.kernel", "fc2": "excite.weight.kernel"}),
        (with_biases, "squeeze_excitation", {"weights.w0": "squeeze.weight", "weights.w1": "excite.weight",
                                             "weights.b0": "squeeze.bias", "weights.b1": "excite.bias"}),
        (over_windows, "cbam_spatial", {"kernel": "conv.weight", "bias": "conv.bias"}),
        (over_time, "non_local", {"w_theta": "query.weight.flat", "w_phi": "key.weight.flat",
                                  "w_g": "value.weight.flat", "w_out": "output.weight.flat"}),
        (additive, "additive", {"w_q": "query.weight", "w_k": "key.weight", "w_v": "score.weight.flat"}),
        (turned, "cross", {"wk": "key.weight.T", "wq": "query.weight.T", "wv": "value.weight.T"}),
        (spelled_out, "cross", {"w_query": "query.weight.T", "w_key": "key.weight.T", "w_value": "value.weight.T"}),
        (squeezed, "squeeze_excitation", {"w1": "squeeze.weight", "w2": "excite.weight", "b1": "squeeze.bias",
                                          "b2": "excite.bias"}),
        (residual, "spatial_self", {"query_weight": "query.weight.flat", "key_weight": "key.weight.flat",
                                    "value_weight": "value.weight.flat", "gamma": "gamma"}),
        (by_letters, "spatial_self", {"wf": "query.weight.flat", "wg": "key.weight.flat", "wh": "value.weight.flat",
                                      "gamma": "gamma"}),
        (by_entries, "cross", {"params.wq": "query.weight", "params.wk": "key.weight",
                               "params.wv": "value.weight", "params.bv": "value.bias"}),
        (by_fields, "cross", {"weights.w_q": "query.weight", "weights.w_k": "key.weight",
                              "weights.w_v": "value.weight"}),
        (scaled_by_beta, "channel_self", {"beta": "gamma"}),
    ],
)  # fmt: skip
def test_weights_are_told_by_their_names_and_shapes(function, mechanism: str, owned: dict[str, str]) -> None:
    found = found_in(function, mechanism)

    assert found.certainty == "verified"
    assert found.owned == owned


def test_a_matrix_is_no_kernel_of_one_pixel_and_every_bias_has_its_place() -> None:
    """A kernel turned by `.T` would run, and take the samples for rows."""
    found = found_in(over_pixels, "non_local")

    assert found.certainty == "verified"
    assert found.owned["query_weight"] == "query.weight.flat"
    assert {found.owned[f"{layer}_bias"] for layer in ("query", "key", "value", "output")} == {
        "query.bias", "key.bias", "value.bias", "output.bias"
    }  # fmt: skip


def test_a_number_that_is_a_size_is_told_beside_the_weights() -> None:
    found = found_in(headed, "multi_head")

    assert found.certainty == "verified"
    assert found.owned["n_heads"] == "heads"
    assert set(found.owned) == {"Wq", "Wk", "Wv", "Wo", "n_heads"}


def test_a_function_that_is_not_told_how_many_heads_there_are_has_one() -> None:
    found = found_in(single, "multi_head")

    assert found.certainty == "verified"
    assert found.derived["heads"] == "1"


def test_weights_are_as_wide_as_they_can_be_apart() -> None:
    free, tied = found_in(single, "multi_head"), found_in(square, "multi_head")

    assert set(free.free) == {"head_dim", "v_dim", "query_size"}
    assert (tied.certainty, tied.free) == ("verified", ())


def test_a_mistake_that_square_weights_would_hide_is_found() -> None:
    report = attncheck.run(single_scaled_by_the_input, mechanism="multi_head", budget="quick", seed=1)

    assert "matches_the_reference" in [v.check for v in report.verdicts if v.outcome == "failed"]


def test_the_report_says_what_the_arguments_are() -> None:
    assert (
        "handed its weights: wk is key.weight.T, wq is query.weight.T, wv is value.weight.T"
        in found_in(turned, "cross").notes
    )


def test_a_mistake_of_such_a_function_is_found() -> None:
    def values_of_keys(x: Tensor, y: Tensor, wq: Tensor, wk: Tensor, wv: Tensor) -> Tensor:
        q, k = x @ wq, y @ wk
        return (q @ k.mT).softmax(-1) @ (y @ wv)

    report = attncheck.run(values_of_keys, mechanism="cross", budget="quick", seed=1)

    assert "matches_the_reference" in [v.check for v in report.verdicts if v.outcome == "failed"]


def test_a_mistake_of_a_function_that_takes_kernels_is_found() -> None:
    report = attncheck.run(gated_twice, mechanism="cbam_channel", budget="quick", seed=1)

    assert "matches_the_reference" in [v.check for v in report.verdicts if v.outcome == "failed"]


def test_a_right_function_is_left_alone() -> None:
    report = attncheck.run(turned, mechanism="cross", budget="quick", seed=1)

    assert report.exit_code == 0
    assert "matches_the_reference" in [v.check for v in report.verdicts if v.outcome == "passed"]


def test_a_function_without_weights_has_no_module() -> None:
    assert (
        list(ways_to_own(torch.nn.functional.scaled_dot_product_attention, BY_ID["scaled_dot_product"])) == []
    )
    assert list(ways_to_own(lambda x, y: x, BY_ID["cross"])) == []


def test_more_weights_than_the_reference_has_are_refused() -> None:
    def four(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, w4: Tensor) -> Tensor:
        return x @ w1 @ w2 @ w3 @ w4

    with pytest.raises(NoAdapterError):
        found_in(four, "cross")


def test_what_owns_the_weights_is_called_without_them() -> None:
    made = owning(turned, "cross", wq="query.weight.T", wk="key.weight.T", wv="value.weight.T")
    module = made(query_size=3, key_size=5, head_dim=4, v_dim=2)

    assert list(inspect.signature(made.forward).parameters) == ["x", "y"]
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {
        "wk": (5, 4),
        "wq": (3, 4),
        "wv": (5, 2),
    }
    assert module(torch.ones(1, 2, 3), torch.ones(1, 6, 5)).shape == (1, 2, 2)


def test_a_parameter_that_the_mechanism_has_not_is_named() -> None:
    with pytest.raises(UsageError, match=r"w: cross has no 'gate.weight'; expected one of query.weight, "):
        owning(turned, "cross", w="gate.weight")


@pytest.mark.parametrize("mechanism", [m.id for m in MECHANISMS if m.module is not None])
def test_one_weight_is_looked_for_in_every_mechanism(mechanism: str) -> None:
    def handed(x: Tensor, w1: Tensor) -> Tensor:
        return x @ w1

    ways = list(ways_to_own(handed, BY_ID[mechanism]))

    assert all(set(way.owned) == {"w1"} for way in ways)


def test_what_owns_nothing_is_reached_as_it_is() -> None:
    found = discover(torch.nn.functional.scaled_dot_product_attention, BY_ID["scaled_dot_product"])

    assert reached(abs, found) is abs


def of_a_width(x: Tensor, x_train: Tensor, y_train: Tensor, h: float = 1.0) -> Tensor:
    return (-(((x[:, None] - x_train) / h) ** 2) / 2).softmax(-1) @ y_train


def of_an_inverse_width(x: Tensor, x_train: Tensor, y_train: Tensor, beta: float = 1.0) -> Tensor:
    return (-(((x[:, None] - x_train) * beta) ** 2) / 2).softmax(-1) @ y_train


def of_a_variance_called_a_width(
    x: Tensor, x_train: Tensor, y_train: Tensor, bandwidth: float = 1.0
) -> Tensor:
    return (-((x[:, None] - x_train) ** 2) / bandwidth / 2).softmax(-1) @ y_train


def of_a_power(x: Tensor, x_train: Tensor, y_train: Tensor, power: float = 1.0) -> Tensor:
    return (-((x[:, None] - x_train).abs() ** (2 * power)) / 2).softmax(-1) @ y_train


@pytest.mark.parametrize(
    ("function", "owned"),
    [
        (of_a_width, {"h": "inverse_width.reciprocal"}),
        (of_an_inverse_width, {"beta": "inverse_width"}),
        (of_a_variance_called_a_width, {"bandwidth": "inverse_width.reciprocal"}),
        (of_a_power, {}),
    ],
)
def test_a_number_that_is_a_kernels_width_is_judged_at_other_values_than_one(
    function, owned: dict[str, str]
) -> None:
    assert found_in(function, "kernel_regression").owned == owned


@pytest.mark.parametrize(
    ("function", "code"), [(of_a_width, 0), (of_a_variance_called_a_width, 1), (of_a_power, 0)]
)
def test_a_width_that_is_right_at_one_alone_is_found(function, code: int) -> None:
    report = attncheck.run(
        function, mechanism="kernel_regression", isolate=False, seed=1, checks=("matches_the_reference",)
    )

    assert report.exit_code == code
