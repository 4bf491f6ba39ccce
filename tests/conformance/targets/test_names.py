"""Names that published code uses mean what they say, and names of one thing are not taken for another."""

import pytest

from attncheck.targets.names import (
    ARGUMENTS,
    INPUTS,
    MASKS,
    axes_for,
    is_dropout,
    is_mask,
    layer_role,
    roles_for,
)
from attnref.axes import BY_NAME


def test_every_axis_that_a_name_may_mean_is_in_the_glossary() -> None:
    assert {axis for meanings in ARGUMENTS.values() for axis in meanings} <= set(BY_NAME)


def test_every_listed_input_plays_its_role_and_every_listed_mask_is_one() -> None:
    assert all(role in roles_for(name) for role, names in INPUTS.items() for name in names)
    assert all(is_mask(name) for name in MASKS)


def test_no_name_of_an_input_is_one_of_a_mask() -> None:
    # A memory if it is all that can be asked, as in f(x, m); a mask beside queries, keys and values.
    either = ["m"]

    assert [name for names in INPUTS.values() for name in names if is_mask(name)] == either


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("to_q", "query"), ("self_attn.k_proj", "key"), ("W_v", "value"), ("out_proj", "output"),
        ("attention.query.out", "output"), ("qkv", None), ("norm1", None),
    ],
)  # fmt: skip
def test_the_last_telling_word_of_a_path_is_its_role(path: str, role: str | None) -> None:
    assert layer_role(path) == role


def test_case_and_underscores_at_the_ends_do_not_matter() -> None:
    assert axes_for("_Num_Heads") == axes_for("num_heads") == ("heads",)
    assert roles_for("Query_") == ("q",)


@pytest.mark.parametrize(
    ("longer", "usual"),
    [
        ("width_in", "in_channels"), ("out_maps", "out_channels"), ("gate_hidden", "hidden"),
        ("spatial_kernel_size", "kernel_size"), ("se_reduction", "reduction"),
    ],
)  # fmt: skip
def test_a_longer_name_is_told_by_its_parts(longer: str, usual: str) -> None:
    assert axes_for(longer) == axes_for(usual) != ()


def test_a_name_of_other_parts_tells_no_size() -> None:
    assert axes_for("chunk_width") == axes_for("hidden_act") == ()


@pytest.mark.parametrize(
    "name", ["attention_dropout", "projection_dropout", "att_drop", "proj_drop", "drop_rate"]
)
def test_a_rate_of_dropout_is_known_by_a_part_of_its_name(name: str) -> None:
    assert is_dropout(name)


@pytest.mark.parametrize("name", ["backdrop", "droplet_size", "rope", "bias"])
def test_a_name_that_only_sounds_like_dropout_is_no_rate(name: str) -> None:
    assert not is_dropout(name)


@pytest.mark.parametrize(
    ("name", "mask", "role"),
    [
        ("enc_hs_pad", False, "kv"), ("dec_z", False, "q"), ("xs_pad", False, None),
        ("enc_hs_len", True, None), ("src_pad", True, None), ("pad_token_mask", True, None),
    ],
)  # fmt: skip
def test_padded_sequences_are_no_masks(name: str, mask: bool, role: str | None) -> None:
    assert is_mask(name) is mask
    assert roles_for(name)[:1] == ((role,) if role else ())
