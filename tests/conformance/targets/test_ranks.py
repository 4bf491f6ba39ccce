"""The ranks in which a target takes keys and values: what is right in one may be wrong, or nothing, in another."""

import torch
from torch import Tensor

from attncheck.targets.discover import discover
from attncheck.targets.ranks import with_other_forms
from attnref.catalogue import BY_ID

NADARAYA_WATSON = BY_ID["kernel_regression"]


def _weights(queries: Tensor, keys: Tensor) -> Tensor:
    return (-((queries[:, None] - keys) ** 2) / 2).softmax(-1)


def of_any_rank(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return (_weights(queries, keys) * values).sum(-1)


def of_shared_keys(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    return _weights(queries, keys.reshape(1, -1)) @ values


def of_shared_keys_or_shared_nothing(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    if keys.dim() == 1:
        return _weights(queries, keys) @ values
    return torch.stack(
        [(_weights(q[None], k)[0] * v).sum() for q, k, v in zip(queries, keys, values, strict=True)]
    )


def of_the_first_values(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    weights = _weights(queries, keys)
    return weights @ values[0] if values.dim() == 2 else weights @ values


def of_mean_values(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    weights = _weights(queries, keys)
    return weights @ values.expand_as(weights).mean(0)


def of_documented_ranks(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Estimate at the queries.

    Args:
        queries: (q,)
        keys: (k,) or (q, k)
        values: (k,) or (q, k)
    """
    difference = queries - keys if keys.dim() == 2 else queries[:, None] - keys
    return ((-(difference**2) / 2).softmax(-1) * values).sum(-1)


def of_points_with_features(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Estimate at the queries.

    Args:
        queries: (q,) or (q, d)
        keys: (k,) or (k, d)
        values: (k,) or (k, c)
    """
    queries, keys = (points.unsqueeze(1) if points.dim() == 1 else points for points in (queries, keys))
    if queries.shape[1] != keys.shape[1]:
        raise ValueError("queries and keys must have as many features")
    return (-torch.cdist(queries, keys).square() / 2).softmax(-1) @ values


def also(target) -> list[dict[str, int]]:
    return [dict(form) for form in discover(target, NADARAYA_WATSON).also]


def test_every_form_in_which_a_target_is_right_is_judged() -> None:
    assert len(also(of_any_rank)) == 3


def test_a_form_that_nothing_speaks_of_is_not_judged() -> None:
    assert {"keys": 2, "values": 2} not in also(of_shared_keys)


def test_keys_and_values_of_different_ranks_are_not_judged_where_they_only_come_together() -> None:
    assert also(of_shared_keys_or_shared_nothing) == [{"keys": 1, "values": 1}]


def test_a_form_that_the_source_tells_apart_is_judged() -> None:
    assert {"keys": 2, "values": 2} in also(of_the_first_values)


def test_values_that_are_mixed_up_where_keys_of_every_query_are_right_are_judged() -> None:
    assert {"keys": 2, "values": 2} in also(of_mean_values)


def test_a_form_that_is_documented_is_judged_even_if_it_raises() -> None:
    assert {"keys": 2, "values": 2} in also(of_documented_ranks)


def test_an_axis_of_features_makes_no_keys_of_every_query() -> None:
    assert {"keys": 2, "values": 2} not in also(of_points_with_features)


def test_a_mechanism_of_one_form_has_no_other() -> None:
    found = discover(torch.nn.functional.scaled_dot_product_attention, BY_ID["scaled_dot_product"])

    assert with_other_forms(found, None, BY_ID["scaled_dot_product"]) is found
