"""The reader of annotations sees names, kinds, ranks and expressions as they are written."""

import pytest
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnref._signature import Dim, read


def attend(
    q: Float[Tensor, "batch heads q_len head_dim"],
    mask: Bool[Tensor, "#batch #q_len #kv_len"] | None = None,
    lens: Int[Tensor, " batch"] | Int[Tensor, "batch q_len"] | None = None,
    table: Float[Tensor, "2*tokens-1 {heads}"] | None = None,
    width: Float[Tensor, ""] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "batch q_len"] | tuple[Float[Tensor, "batch q_len"], Float[Tensor, "batch q_len kv_len"]]:
    raise NotImplementedError


class Layer:
    model_dim = 5

    def forward(self, x: Float[Tensor, "batch {self.model_dim}"]) -> Float[Tensor, "batch {self.model_dim}"]:
        raise NotImplementedError


def test_tensors_are_inputs_and_the_rest_is_not():
    signature = read(attend)

    assert [t.name for t in signature.inputs] == ["q", "mask", "lens", "table", "width"]
    assert [p.name for p in signature.others] == ["scale"]


def test_kinds_are_told_apart():
    assert [t.kind for t in read(attend).inputs] == ["float", "bool", "int", "float", "float"]


def test_optional_means_that_none_is_allowed():
    assert [t.optional for t in read(attend).inputs] == [False, True, True, True, True]


def test_of_several_ranks_the_longest_comes_first():
    lens = read(attend)["lens"]

    assert lens.axes == ("batch", "q_len")
    assert [len(dims) for dims in lens.ranks] == [2, 1]


def test_a_tensor_without_dimensions_has_rank_zero():
    assert read(attend)["width"].ranks == ((),)


def test_broadcasting_axes_keep_their_names():
    mask = read(attend)["mask"]

    assert mask.axes == ("batch", "q_len", "kv_len")
    assert all(dim.broadcasts for dim in mask.dims)


def test_a_union_with_a_tuple_names_all_that_may_come_back():
    signature = read(attend, ("out", "weights"))

    assert [t.name for t in signature.outputs] == ["out", "weights"]
    assert signature["weights"].axes == ("batch", "q_len", "kv_len")


def test_axes_are_listed_once_in_order_of_appearance_without_expressions():
    assert read(attend).axes == ("batch", "heads", "q_len", "head_dim", "kv_len")


def test_an_unknown_tensor_is_a_key_error():
    with pytest.raises(KeyError, match="absent"):
        read(attend)["absent"]


def test_an_attribute_of_the_layer_is_an_axis():
    assert read(Layer.forward)["x"].axes == ("batch", "model_dim")
    assert [t.name for t in read(Layer.forward).inputs] == ["x"]


@pytest.mark.parametrize(
    ("text", "sizes", "size"),
    [
        ("tokens", {"tokens": 7}, 7),
        ("{self.tokens}", {"tokens": 7}, 7),
        ("2*tokens-1", {"tokens": 7}, 13),
        ("{height}*{width}", {"height": 3, "width": 5}, 15),
        ("(2*{height}-1)*(2*(tokens//{height})-1)", {"height": 2, "tokens": 6}, 15),
        ("max(1,channels//reduction)", {"channels": 3, "reduction": 5}, 1),
        ("3", {}, 3),
    ],
)
def test_the_size_of_a_dimension_follows_from_the_axes(text, sizes, size):
    assert Dim(text).size(sizes) == size


def test_an_axis_without_a_size_is_a_name_error():
    with pytest.raises(NameError, match="tokens"):
        Dim("2*tokens-1").size({"heads": 3})


def test_a_checked_function_reads_as_what_it_wraps():
    from attnref._checked import checked

    assert read(checked(attend)) == read(attend)


def test_other_hints_of_tensors_are_no_shapes():
    def plain(x: Tensor, device: torch.device | None = None) -> Tensor:
        raise NotImplementedError

    assert read(plain).inputs == ()
    assert read(plain).outputs == ()
