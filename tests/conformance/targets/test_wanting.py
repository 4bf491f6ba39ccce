"""What one argument of a constructor may want follows from its name, its default and the sizes there are."""

from collections.abc import Sequence

import pytest

from attncheck.targets.constructing import constructions
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]
AXES = ("model_dim", "heads", "head_dim", "v_dim", "query_size", "key_size", "value_size")
# By what a network of stages shrinks an image, the sides of one that it shrinks evenly, and its last width.
SHRINKS = "2 ** (stages + 1)"
SIDES = f"((height + 1) // {SHRINKS} * {SHRINKS}, (width + 1) // {SHRINKS} * {SHRINKS})"
LAST = "hidden * 2 ** (stages - 1)"


def test_a_length_may_be_exact_unless_its_name_says_that_it_is_the_longest() -> None:
    def exact(dim: int, heads: int, seq_len: int) -> None: ...

    def longest(dim: int, heads: int, max_seq_len: int) -> None: ...

    lengths = {way.arguments["seq_len"] for way in constructions(exact, MULTI_HEAD, AXES, {})}
    bounds = {way.arguments["max_seq_len"] for way in constructions(longest, MULTI_HEAD, AXES, {})}

    assert lengths == {"max(q_len, kv_len) + q_len % 3", "max(q_len, kv_len)"}
    assert bounds == {"max(q_len, kv_len) + q_len % 3"}


def test_the_size_of_a_map_may_be_two_numbers() -> None:
    axes = ("channels", "heads", "height", "width", "classes")

    def one(in_features: int, feat_size: int, num_heads: int) -> None: ...

    def two(in_features: int, feat_size: tuple[int, int], num_heads: int) -> None: ...

    def two_by_default(in_features: int, num_heads: int = 4, feat_size=(7, 7)) -> None: ...

    sizes = [
        constructions(each, BY_ID["attention_pool"], axes, {})[0].arguments["feat_size"]
        for each in (one, two, two_by_default)
    ]

    assert sizes == ["height", "(height, width)", "(height, width)"]


def test_the_sides_of_a_map_whose_pixels_are_the_tokens_are_told_apart() -> None:
    def over_pixels(dim: int, num_heads: int, height: int, width: int) -> None: ...

    (likeliest, *_) = constructions(
        over_pixels, BY_ID["relative_position"], ("model_dim", "heads", "tokens"), {}
    )

    assert likeliest.arguments["height"] == "height"
    assert likeliest.arguments["width"] == "tokens // height"


def test_a_width_beside_a_length_is_how_wide_a_token_is() -> None:
    def over_tokens(width: int, n_heads: int, length: int) -> None: ...

    ways = constructions(over_tokens, BY_ID["relative_position"], ("model_dim", "heads", "tokens"), {})

    wanted = {"width": "model_dim", "n_heads": "heads", "length": "tokens"}
    assert wanted in [way.arguments for way in ways]


def test_what_tells_nothing_of_a_network_may_be_the_size_of_an_image() -> None:
    axes = ("channels", "hidden", "heads", "classes", "height", "width")

    def network(blocks_per_stage=(1, 1), *, canvas: tuple[int, int], base: int = 16) -> None: ...

    first, second, *_ = constructions(network, BY_ID["modified_resnet"], axes, {})

    assert first.arguments["blocks_per_stage"] == "(2, 3, 1, 1)[:stages]"
    assert first.arguments["canvas"] == f"(height + 1) // {SHRINKS} * {SHRINKS}"
    assert second.arguments["canvas"] == SIDES


def test_two_numbers_of_any_name_are_the_sides_of_a_map() -> None:
    def pool(extent: tuple[int, int], dim: int, heads: int) -> None: ...

    likeliest, *_ = constructions(pool, BY_ID["attention_pool"], ("channels", "heads", "height", "width"), {})

    assert likeliest.arguments["extent"] == "(height, width)"


def test_what_counts_is_no_flag_of_one() -> None:
    axes = ("model_dim", "heads", "tokens")

    def attention(hidden: int, n_buckets: int, thing) -> None: ...  # type: ignore[no-untyped-def]  # it tells nothing

    ways = constructions(attention, BY_ID["relative_position"], axes, {})

    assert "True" not in {way.arguments["n_buckets"] for way in ways}
    assert "True" in {way.arguments["thing"] for way in ways}


def test_a_width_by_any_name_may_be_that_of_a_squeeze() -> None:
    def block(channels: int, embed: int = 3) -> None: ...

    ways = constructions(block, BY_ID["non_local"], ("channels", "reduced"), {})

    assert {"channels": "channels", "embed": "reduced"} in [way.arguments for way in ways]


def test_a_head_of_a_network_is_a_share_of_its_last_stage() -> None:
    axes = ("channels", "hidden", "heads", "classes", "height", "width")

    def network(layers: list[int], output_dim: int, width: int = 64, head_width: int = 64) -> None: ...

    ways = constructions(network, BY_ID["modified_resnet"], axes, {})

    # By its kind of block: a bottleneck has four times the channels.
    expected = {f"{LAST} * 4 // heads", f"{LAST} // heads"}
    assert expected <= {way.arguments.get("head_width") for way in ways[:4]}


def test_filters_of_a_network_may_be_how_wide_its_first_stage_is() -> None:
    axes = ("channels", "hidden", "heads", "classes", "height", "width")

    def network(layers: list[int], output_dim: int, heads: int, filters: int = 64) -> None: ...

    ways = constructions(network, BY_ID["modified_resnet"], axes, {})

    assert {"channels", "hidden"} <= {way.arguments.get("filters") for way in ways[:2]}


@pytest.mark.parametrize("annotated", [True, False])
def test_stages_of_a_network_may_be_as_wide_as_a_series_says(annotated: bool) -> None:
    axes = ("channels", "hidden", "heads", "classes", "height", "width")

    def told(layers: Sequence[int], widths: Sequence[int], strides: Sequence[int]) -> None: ...
    def silent(layers=(1, 1, 1), widths=(16, 32, 64), strides=(1, 2, 2)) -> None: ...

    likeliest, *_ = constructions(told if annotated else silent, BY_ID["modified_resnet"], axes, {})

    assert likeliest.arguments == {
        "layers": "(2, 3, 1, 1)[:stages]",
        "widths": "(hidden, hidden * 2, hidden * 4, hidden * 8)[:stages]",
        "strides": "(1, 2, 2, 2)[:stages]",
    }


def test_a_number_that_tells_nothing_is_no_length_of_a_call() -> None:
    def in_slices(take: int = 3) -> None: ...

    ways = constructions(in_slices, BY_ID["kernel_regression"], ("q_len", "kv_len"), {})

    assert [way.arguments for way in ways] == [{}]


def test_a_size_that_is_taken_apart_has_channels_before_the_sides_or_behind_them() -> None:
    axes = ("channels", "hidden", "heads", "classes", "height", "width")

    def last(filters: int, num_heads: int, block_repeats: list[int], input_shape=(224, 224, 3)) -> None:
        rows, cols, chans = input_shape
        assert rows * cols * chans

    def first(filters: int, num_heads: int, block_repeats: list[int], input_shape=(3, 224, 224)) -> None:
        c, h, w = input_shape
        assert c * h * w

    for function, whole in ((last, f"(*{SIDES}, channels)"), (first, f"(channels, *{SIDES})")):
        likeliest, *_ = constructions(function, BY_ID["modified_resnet"], axes, {})

        assert likeliest.arguments["input_shape"] == whole
        assert likeliest.arguments["block_repeats"] == "(2, 3, 1, 1)[:stages]"
        # The channels of the image are in the shape already.
        assert likeliest.arguments["filters"] != "channels"
