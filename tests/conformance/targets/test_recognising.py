"""A name tells what a target may be; what it takes tells the rest."""

import pytest

from attncheck.targets.recognising import likely_mechanisms
from attnref import MECHANISMS


class Nameless:
    def forward(self, a, b): ...  # type: ignore[no-untyped-def]  # only names count


@pytest.mark.parametrize("mechanism", [m.id for m in MECHANISMS])
def test_every_mechanism_is_recognised_by_its_own_name(mechanism: str) -> None:
    name = "".join(part.capitalize() for part in mechanism.split("_"))

    assert mechanism in [m.id for m in likely_mechanisms(Nameless, f"my_file.py:{name}")]


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("CrossAttention", "cross"), ("SELayer", "squeeze_excitation"), ("CBAM", "cbam_block"),
        ("NonLocalBlock", "non_local"), ("CrissCrossAttention", "criss_cross"), ("SKConv", "selective_kernel"),
        ("MultiheadAttention", "multi_head"), ("AttentionPool2d", "attention_pool"),
    ],
)  # fmt: skip
def test_published_names_are_tried_as_what_they_are(name: str, mechanism: str) -> None:
    assert mechanism in [m.id for m in likely_mechanisms(Nameless, f"package.module:{name}")]


def test_a_name_that_tells_nothing_is_tried_as_the_usual_two() -> None:
    assert [m.id for m in likely_mechanisms(Nameless, "my_file.py:Block")] == ["multi_head", "cross"]
