"""Real runs are made only where their tensors fit in memory."""

import pytest
from torch import Tensor

from attncheck.shapes.question import Question
from attncheck.shapes.replay import replay

VOLUME = ("batch", "2", "time", "height", "width")


def positions_attend(x: Tensor) -> Tensor:
    rows = x.flatten(2)
    return ((rows.mT @ rows).softmax(-1) @ rows.mT).mT.reshape(x.shape)


@pytest.mark.parametrize(
    ("sides", "outcome"), [((3, 5, 7), "ok"), ((33, 33, 33), "skipped"), ((1, 1, 40_000), "skipped")]
)
def test_a_run_whose_scores_need_gigabytes_is_not_made(sides, outcome):
    question = Question(lambda _: positions_attend, {"x": VOLUME}, VOLUME)
    sizes = {"batch": 1, **dict(zip(("time", "height", "width"), sides, strict=True))}

    made = replay(question, sizes)

    assert made.outcome == outcome
    assert ("elements" in made.detail) == (outcome == "skipped")
