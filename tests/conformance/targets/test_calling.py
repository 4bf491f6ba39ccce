"""Which argument takes which tensor is told by names first, then by order."""

import torch

from attncheck.targets.calling import Calling, callings, structures
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]


def tensors(calling: Calling) -> dict[str, str]:
    return {a.name: a.tensor for a in calling.arguments if a.tensor}


def test_names_decide_and_order_does_not() -> None:
    def forward(value, key, query): ...  # type: ignore[no-untyped-def]  # only names count

    first = callings(forward, MULTI_HEAD)[0]

    assert first.by_name
    assert tensors(first) == {"value": "v", "key": "k", "query": "q"}


def test_names_that_tell_rule_out_every_other_order() -> None:
    """Another order would excuse a target that mixes its arguments up."""

    def forward(query, key, value): ...  # type: ignore[no-untyped-def]  # only names count

    orders = {
        tuple(tensors(c).items()) for c in callings(forward, MULTI_HEAD) if set(c.inputs) == {"q", "k", "v"}
    }

    assert {order for order in orders if len(order) == 3} == {(("query", "q"), ("key", "k"), ("value", "v"))}


def test_arguments_that_tell_nothing_are_tried_in_order_first() -> None:
    def forward(alpha, beta, gamma): ...  # type: ignore[no-untyped-def]  # only names count

    first = callings(forward, BY_ID["scaled_dot_product"])[0]

    assert not first.by_name
    assert tensors(first) == {"alpha": "q", "beta": "k", "gamma": "v"}


def test_a_mask_takes_no_tensor_of_its_own() -> None:
    def forward(x, mask=None): ...  # type: ignore[no-untyped-def]  # only names count

    assert all("mask" not in tensors(calling) for calling in callings(forward, MULTI_HEAD))


def test_the_likeliest_comes_first() -> None:
    costs = [calling.cost for calling in callings(torch.nn.MultiheadAttention.forward, MULTI_HEAD)]

    assert costs == sorted(costs)


def test_tensors_are_shared_only_where_their_axes_allow_it() -> None:
    assert [list(s) for s in structures(MULTI_HEAD)] == [["q", "k", "v"], ["q", "kv"], ["x"]]
    assert [list(s) for s in structures(BY_ID["scaled_dot_product"])] == [["q", "k", "v"]]


def test_another_order_of_axes_is_no_way_to_call_where_layouts_are_no_convention() -> None:
    """A softmax over queries is one over keys with its axes exchanged, and would be excused."""

    def masked_softmax(scores): ...  # type: ignore[no-untyped-def]  # only names count

    assert {c.layout for c in callings(masked_softmax, BY_ID["masked_softmax"])} == {"batch first"}
