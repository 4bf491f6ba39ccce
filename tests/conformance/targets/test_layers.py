"""What a module learns is told by name and shape, what it shares as well."""

import torch
from torch import nn

from attncheck.targets.layers import layers, learned_shapes


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(2, 3, bias=False)] * 2)
        self.query = self.key = nn.Linear(4, 4, bias=False)
        self.mlp = nn.Sequential(nn.Linear(5, 6, bias=False))
        self.alias = self.mlp


def test_a_layer_that_stands_in_for_several_has_all_its_names_and_an_alias_has_none() -> None:
    assert learned_shapes(Shared()) == {
        "branches.0.weight": (3, 2),
        "branches.1.weight": (3, 2),
        "query.weight": (4, 4),
        "key.weight": (4, 4),
        "mlp.0.weight": (6, 5),
    }


def test_a_shared_norm_has_its_statistics_under_all_its_names() -> None:
    branches = nn.ModuleList([nn.BatchNorm2d(3)] * 2)

    assert set(learned_shapes(branches)) == {
        f"{i}.{leaf}" for i in (0, 1) for leaf in ("weight", "bias", "running_mean", "running_var")
    }


def test_statistics_that_stand_apart_belong_to_the_one_vector_of_their_width() -> None:
    shapes = {
        "conv_weight": (4, 3, 1, 1),
        "norm_weight": (4,),
        "norm_bias": (4,),
        "running_mean": (4,),
        "running_var": (4,),
    }
    conv, norm = layers(shapes)

    assert (conv.path, norm.path) == ("conv", "norm")
    assert set(norm.tensors) == {"weight", "bias", "running_mean", "running_var"}


def test_statistics_belong_to_the_vectors_that_are_called_a_gain_and_a_shift() -> None:
    shapes = {
        "p.conv": (4, 3, 3, 3),
        "p.gain": (4,),
        "p.shift": (4,),
        "p.other": (4,),
        "mu": (4,),
        "var": (4,),
    }
    conv, norm, other = layers(shapes)

    assert (conv.path, norm.path, other.path) == ("p.conv", "p.gain", "p.other")
    assert {leaf: name for leaf, (name, _) in norm.tensors.items()} == {
        "weight": "p.gain",
        "bias": "p.shift",
        "running_mean": "mu",
        "running_var": "var",
    }


def test_statistics_that_two_vectors_could_have_stay_apart() -> None:
    shapes = {"a_weight": (4,), "b_weight": (4,), "running_mean": (4,), "running_var": (4,)}

    assert [layer.path for layer in layers(shapes)] == ["a", "b", ""]


def test_a_module_that_is_one_layer_has_its_weight_and_bias_together() -> None:
    (layer,) = layers({"weight": (4, 3), "bias": (4,)})

    assert set(layer.tensors) == {"weight", "bias"}


def test_a_norm_spelled_out_is_one_layer_whatever_its_parts_are_called() -> None:
    own = {"weight": (4, 3, 1, 1), "gamma": (4,), "beta": (4,), "running_mean": (4,), "running_var": (4,)}
    named = {"bn_w": (4,), "bn_b": (4,), "bn_mean": (4,), "bn_var": (4,)}
    keras = {"stem.scale": (4,), "stem.offset": (4,), "stem.moving_mean": (4,), "stem.moving_variance": (4,)}

    conv, norm = layers(own)

    assert set(conv.tensors) == {"weight"}
    for found in (norm, *layers(named), *layers(keras)):
        assert set(found.tensors) == {"weight", "bias", "running_mean", "running_var"}


class NormedByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pool_mean", torch.zeros(3))
        self.register_buffer("pool_var", torch.ones(3))
        # One of a pair alone says nothing.
        self.register_buffer("mean", torch.zeros(7))


def test_a_mean_and_a_variance_of_one_name_are_statistics() -> None:
    assert set(learned_shapes(NormedByHand())) == {"pool_mean", "pool_var"}


def test_a_weight_and_a_bias_in_short_are_one_layer_where_the_rows_fit() -> None:
    (query,) = layers({"q_w": (4, 3), "q_b": (4,)})

    assert set(query.tensors) == {"weight", "bias"}
    assert len(layers({"q_w": (4, 3), "q_b": (3,)})) == 2
