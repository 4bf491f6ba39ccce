"""Constructor arguments get the sizes that their names suggest, and what a person says counts."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from attncheck.targets.configuring import offered
from attncheck.targets.constructing import Construction, constructions
from attnref.catalogue import BY_ID

MULTI_HEAD = BY_ID["multi_head"]
AXES = ("model_dim", "heads", "head_dim", "v_dim", "query_size", "key_size", "value_size")


def first(target: object, **given: str) -> Construction:
    return constructions(target, MULTI_HEAD, AXES, given)[0]  # type: ignore[arg-type]  # any class


class Usual:
    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, flavour: str = "old"
    ) -> None: ...


class Silent:
    def __init__(self, a: int, b: int) -> None: ...


class Configured:
    def __init__(self, config: object) -> None: ...


def test_usual_names_get_their_sizes() -> None:
    assert first(Usual).arguments == {"embed_dim": "model_dim", "num_heads": "heads", "dropout": "dropout"}


def test_what_a_person_fixed_is_kept_in_every_guess() -> None:
    found = constructions(Usual, MULTI_HEAD, AXES, {"flavour": "'new'"})

    assert {c.arguments["flavour"] for c in found} == {"'new'"}


def test_arguments_that_tell_nothing_get_different_sizes_first() -> None:
    """With two sizes made equal a mistake may hide that shows when they differ."""
    assert first(Silent).repeated == 0


def test_a_configuration_offers_every_usual_name() -> None:
    found = first(Configured)

    assert found.config == "config"
    assert found.arguments["hidden_size"] == found.arguments["d_model"] == "model_dim"
    assert found.arguments["num_attention_heads"] == "heads"


def test_guesses_come_by_rising_cost() -> None:
    costs = [c.cost for c in constructions(Silent, MULTI_HEAD, AXES, {})]

    assert costs == sorted(costs)


class Flagged:
    def __init__(self, dim: int, heads: int, use_dropout: bool = False, att_drop: float = 0.1) -> None: ...


def test_a_flag_lets_through_the_dropout_that_another_argument_names() -> None:
    found = first(Flagged)

    assert (found.arguments["use_dropout"], found.arguments["att_drop"]) == ("dropout > 0", "dropout")
    assert "dropout" in found.takes


class Squeezed:
    def __init__(self, channels: int, squeeze_channels: int) -> None: ...


class Shrunk:
    def __init__(self, dim: int, rd_ratio: float = 0.25) -> None: ...


def squeezing(target: object) -> Construction:
    return constructions(target, BY_ID["squeeze_excitation"], ("channels", "reduction"), {})[0]  # type: ignore[arg-type]  # any class


def test_the_squeezed_width_follows_from_the_reduction() -> None:
    assert squeezing(Squeezed).arguments["squeeze_channels"] == "channels // reduction"


@pytest.mark.parametrize("channels", range(2, 40))
def test_a_ratio_leaves_as_many_units_as_the_reduction_however_it_is_rounded(channels: int) -> None:
    expression = squeezing(Shrunk).arguments["rd_ratio"]

    for reduction in range(1, channels + 1):
        ratio = eval(expression, {"channels": channels, "reduction": reduction})
        assert int(channels * ratio) == round(channels * ratio) == channels // reduction


class Headed:
    def __init__(self, width: int, length: int, num_heads: int) -> None: ...


def test_an_argument_that_can_only_mean_heads_gets_no_other_size() -> None:
    """With one head for each row of a window, of which there is one, what heads do would go unseen."""
    axes = ("model_dim", "tokens", "heads", "height")
    found = constructions(Headed, BY_ID["relative_position"], axes, {})

    assert {c.arguments["num_heads"] for c in found} == {"heads"}


class Bounded:
    def __init__(self, features: int, M: int = 2, r: int = 16, L: int = 32) -> None: ...


def test_the_least_width_of_a_gate_goes_by_its_letter() -> None:
    axes = ("channels", "branches", "groups", "reduction", "least_reduced")
    (first, *_) = constructions(Bounded, BY_ID["selective_kernel"], axes, {})

    assert first.arguments == {
        "features": "channels",
        "M": "branches",
        "r": "reduction",
        "L": "least_reduced",
    }


def test_a_size_of_pieces_is_left_as_it_is() -> None:
    """Pieces as large as another size would never end where a mistake shows."""

    def attention(d_model: int, n_heads: int, chunk: int = 4, breadth: int = 8) -> None: ...

    ways = constructions(attention, MULTI_HEAD, ("model_dim", "heads", "value_size"), {})

    assert not any("chunk" in way.arguments for way in ways)
    assert {way.arguments.get("breadth") for way in ways} >= {None, "value_size"}


class Base(nn.Module):
    def __init__(
        self, in_channels: int, reduction: int = 2, use_scale: bool = False, conv: type = nn.Conv2d
    ) -> None:
        super().__init__()


class OfPlanes(Base):
    def __init__(self, in_channels: int, pooled: bool = False, **kwargs: Any) -> None:
        super().__init__(in_channels, conv=nn.Conv2d, **kwargs)


class KeepsThem(Base):
    def __init__(self, in_channels: int, **kwargs: Any) -> None:
        super().__init__(in_channels)
        self.options = kwargs


def test_what_is_handed_on_to_the_class_above_is_offered_too() -> None:
    assert [p.name for p in offered(OfPlanes) or []] == ["in_channels", "pooled", "reduction", "use_scale"]
    assert [p.name for p in offered(KeepsThem) or []] == ["in_channels"]


@dataclass
class BlockConfig:
    in_channels: int
    out_channels: int
    stride: int = 1


class OfABlock(nn.Module):
    def __init__(self, cfg: BlockConfig) -> None:
        super().__init__()


def test_a_configuration_offers_its_fields() -> None:
    assert [p.name for p in offered(OfABlock, "cfg") or []] == ["in_channels", "out_channels", "stride"]
