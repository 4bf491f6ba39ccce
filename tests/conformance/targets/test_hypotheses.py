"""Guesses at which tensor is which: all tensors have a place, names come first, lost weights have none."""

import pytest

from attncheck.targets.adapter import parameter_shapes
from attncheck.targets.found import Found
from attncheck.targets.hypotheses import guesses
from attncheck.targets.layers import layers
from attncheck.targets.trying import first_case
from attnref.catalogue import BY_ID

Shapes = dict[str, tuple[int, ...]]
REFERENCE: Shapes = {
    f"{role}.{leaf}": ((6, 6) if leaf == "weight" else (6,))
    for role in ("query", "key", "value", "output")
    for leaf in ("weight", "bias")
}


def test_tensors_of_a_layer_stand_together() -> None:
    found = layers({"a.weight": (2, 3), "b": (5,), "a.bias": (2,)})

    assert [(layer.path, list(layer.tensors)) for layer in found] == [
        ("a", ["weight", "bias"]),
        ("b", ["weight"]),
    ]


def test_names_that_tell_come_before_order() -> None:
    own: Shapes = {
        f"{name}.{leaf}": REFERENCE[f"query.{leaf}"]
        for name in ("to_v", "to_q", "to_out", "to_k")
        for leaf in ("weight", "bias")
    }

    best = guesses(own, REFERENCE, heads=2)[0]

    assert best.named
    roles = {p.target: p.roles[0] for p in best.placements}
    assert roles["to_v.weight"] == "value.weight"
    assert roles["to_k.bias"] == "key.bias"


@pytest.mark.parametrize("own", [
    {"qkv.weight": (18, 6), "qkv.bias": (18,), "proj.weight": (6, 6), "proj.bias": (6,)},
    {"q.weight": (6, 6), "kv.weight": (12, 6), "o.weight": (6, 6)},
    {"w.weight": (18, 6)},
])  # fmt: skip
def test_every_tensor_has_its_place_in_every_guess_and_every_weight_its_tensor(own: Shapes) -> None:
    found = guesses(own, REFERENCE, heads=2)

    assert found
    for guess in found:
        assert {p.target for p in guess.placements} == set(own)
        placed = [role for p in guess.placements for role in p.roles]
        assert sorted([*placed, *guess.absent, *guess.identity]) == sorted(REFERENCE)


def test_too_few_numbers_have_no_guess() -> None:
    assert guesses({"q.weight": (6, 5), "k.weight": (6, 5)}, REFERENCE, heads=2) == []


def test_guesses_come_by_rising_cost() -> None:
    costs = [
        g.cost for g in guesses({"a": (6, 6), "b": (6, 6), "c": (6, 6), "d": (6, 6)}, REFERENCE, heads=2)
    ]

    assert len(costs) >= 24
    assert costs == sorted(costs)


def test_one_kernel_for_several_projections_is_split_in_every_order() -> None:
    reference = {"query.weight": (3, 12, 1, 1), "key.weight": (3, 12, 1, 1), "value.weight": (12, 12, 1, 1)}

    made = {
        (placement.roles, placement.pattern)
        for guess in guesses({"fg.weight": (6, 12, 1, 1), "h.weight": (12, 12, 1, 1)}, reference, None)
        for placement in guess.placements
        if placement.target == "fg.weight"
    }

    both = [("query.weight", "key.weight"), ("key.weight", "query.weight")]
    assert made == {(roles, text) for roles in both for text in ("cat", "r o i j k -> (o r) i j k")}


def test_as_many_layers_as_heads_may_be_one_for_each_role() -> None:
    own = {f"{layer}.weight": (6, 6) for layer in ("merge", "proj.0", "proj.1", "proj.2")}
    reference = {f"{role}.weight": (6, 6) for role in ("query", "key", "value", "output")}

    plain = [guess for guess in guesses(own, reference, 3) if all(not p.pattern for p in guess.placements)]

    assert len({tuple(sorted((p.target, p.roles) for p in guess.placements)) for guess in plain}) == 24


def test_of_layers_alike_those_in_their_order_are_the_likeliest() -> None:
    own = {"gate.weight": (8, 5), "path3.weight": (4, 4), "path5.weight": (4, 4), "last.weight": (2, 2)}
    reference = {
        "conv.0.weight": (4, 4),
        "conv.1.weight": (4, 4),
        "excite.weight": (8, 5),
        "end.weight": (2, 2),
    }

    first = guesses(own, reference, None)[0]

    placed = {p.target: p.roles for p in first.placements}
    assert placed["path3.weight"] == ("conv.0.weight",)
    assert placed["path5.weight"] == ("conv.1.weight",)


def test_a_factor_may_be_lacking_and_a_weight_may_not() -> None:
    reference = {"query.weight": (3, 5), "value.weight": (7, 5), "gamma": (1,)}

    (first, *_) = guesses({"f.weight": (3, 5), "g.weight": (7, 5)}, reference, None)

    assert first.absent == ("gamma",)
    assert guesses({"f.weight": (3, 5), "gamma": (1,)}, reference, None) == []


@pytest.mark.parametrize("roles", [("key", "value"), ("query", "key", "value")])
def test_layers_of_a_network_may_stand_in_one(roles: tuple[str, ...]) -> None:
    mechanism = BY_ID["modified_resnet"]
    case = first_case(Found("modified_resnet", "", {"x": ("x",)}, ()), mechanism)
    assert case is not None
    reference = parameter_shapes(mechanism, case.names)
    paths = [next(n for n in reference if n.endswith(f"{role}.weight")) for role in roles]
    parts = {path.removesuffix("weight") + leaf for path in paths for leaf in ("weight", "bias")}
    width = reference[paths[0]][1]
    joined = {"head.kv.weight": (len(roles) * width, width), "head.kv.bias": (len(roles) * width,)}
    own = {name: shape for name, shape in reference.items() if name not in parts} | joined

    placed = {p.target: p for p in guesses(own, reference, None)[0].placements}

    assert placed["head.kv.weight"].roles == tuple(paths)
    assert placed["head.kv.weight"].pattern == "cat"


def test_a_matrix_of_a_network_may_have_rows_for_columns() -> None:
    mechanism = BY_ID["modified_resnet"]
    case = first_case(Found("modified_resnet", "", {"x": ("x",)}, ()), mechanism)
    assert case is not None
    reference = parameter_shapes(mechanism, case.names)
    position = next(name for name in reference if "position" in name)
    own = {name: shape[::-1] if name == position else shape for name, shape in reference.items()}

    placed = {p.target: p for p in guesses(own, reference, None)[0].placements}

    assert placed[position].roles == (position,)
    assert placed[position].pattern == "o i -> i o"


@pytest.mark.parametrize(
    "own",
    [
        {"expand.weight": (36, 6), "expand.bias": (36,)},
        {"expand": (3, 12, 6), "expand_bias": (3, 12)},
        {"expand": (36, 6), "shift": (3, 12)},
    ],
)
def test_what_every_branch_has_may_stand_in_one_tensor(own: dict[str, tuple[int, ...]]) -> None:
    reference = {
        f"excite.{i}.{leaf}": shape
        for i in range(3)
        for leaf, shape in (("weight", (12, 6)), ("bias", (12,)))
    }

    likeliest = guesses(own, reference, None)[0]

    assert [p.roles for p in likeliest.placements] == [
        tuple(f"excite.{i}.{leaf}" for i in range(3)) for leaf in ("weight", "bias")
    ]
    assert {p.pattern for p in likeliest.placements} == {"cat"}


def of_each_head(output: str) -> dict[str, tuple[int, ...]]:
    shapes = {"query": (11, 4), "key": (9, 4), "value": (14, 4), output: (4, 11)}
    return {f"heads.{i}.{name}": shape for i in range(3) for name, shape in shapes.items()}


PROJECTIONS = {
    "query.weight": (12, 11),
    "key.weight": (12, 9),
    "value.weight": (12, 14),
    "output.weight": (11, 12),
}


def test_the_output_layer_of_each_head_may_have_rows_for_columns() -> None:
    first = guesses(of_each_head("output"), PROJECTIONS, 3)[0]

    placed = {p.target: (p.roles, p.pattern) for p in first.placements}
    assert placed["heads.{}.output"] == (("output.weight",), "o (h d) -> h d o")
    assert placed["heads.{}.query"][0] == ("query.weight",)
    assert first.named


@pytest.mark.parametrize(("names", "untold"), [(("a", "b"), {"a", "b"}), (("output", "query"), set())])
def test_a_name_of_another_role_is_not_one_that_tells_nothing(
    names: tuple[str, str], untold: set[str]
) -> None:
    reference = {"key.weight": (12, 7), "query.weight": (12, 9), "output.weight": (11, 12)}
    own = {"key.weight": (12, 7), names[0]: (12, 9), names[1]: (11, 12)}

    found = guesses(own, reference, None)

    assert all({p.target: p.roles for p in g.placements}[names[0]] == ("query.weight",) for g in found)
    assert {target for guess in found for target in guess.untold} == untold
    assert any(guess.named for guess in found) == bool(untold)


def test_a_factor_may_have_no_axis() -> None:
    reference = {"gamma": (1,)} | {f"{role}.weight": (12, 12) for role in ("query", "key", "value")}

    assert guesses({"gamma": ()} | {f"to_{r}.weight": (12, 12) for r in "qkv"}, reference, None)[0].named


def test_biases_of_all_projections_may_stand_in_one_tensor_by_heads() -> None:
    projections = ("query", "key", "value")
    reference = {
        f"{role}.{leaf}": shape
        for role in projections
        for leaf, shape in (("weight", (12, 12)), ("bias", (12,)))
    }
    own = {"w_qkv": (3, 3, 4, 12), "b_qkv": (3, 3, 4)}

    placed = {p.target: p for p in guesses(own, reference, 3)[0].placements}

    assert placed["b_qkv"].roles == ("query.bias", "key.bias", "value.bias")
