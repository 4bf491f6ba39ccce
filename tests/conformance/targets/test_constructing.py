"""Constructor arguments get the sizes that their names suggest, and what a person says counts."""

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
