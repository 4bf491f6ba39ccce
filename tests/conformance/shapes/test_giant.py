"""Giant sizes are run on fake tensors: nothing is computed, and what would not fit is seen."""

import torch
from torch import Tensor, nn

from attncheck.shapes.giant import giant
from attncheck.shapes.question import Question

TOKENS = ("batch", "tokens", "8")
SIZES = {"batch": 4096, "tokens": 2**20}


def asked(function) -> Question:
    return Question(lambda _: function, {"x": TOKENS}, TOKENS)


def test_a_right_module_is_right_at_four_billion_tokens():
    found = giant(Question(lambda _: nn.Linear(8, 8), {"input": TOKENS}, TOKENS), SIZES)

    assert (found.problem, found.sizes) == ("", SIZES)
    assert found.largest[1] == 4096 * 2**20 * 8


def test_a_table_of_all_pairs_is_the_largest_tensor():
    def biased(x: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1])
        return x + (steps[:, None] - steps).sum(1)[:, None]

    found = giant(asked(biased), SIZES)

    assert (found.problem, found.largest) == ("", ("sub", 2**40))


def test_an_expanded_view_takes_no_memory():
    found = giant(asked(lambda x: x[:, :1].expand(x.shape) * 0 + x), {"batch": 1, "tokens": 5})

    assert found.largest[1] == 40


def test_positions_learned_up_to_a_length_end_there():
    table = torch.zeros(1024, 8)

    found = giant(asked(lambda x: x + table[: x.shape[1]]), SIZES)

    assert found.problem.startswith("RuntimeError: ")
    assert "1024" in found.problem


def test_a_loop_over_tokens_is_seen_before_it_ends():
    def loop(x: Tensor) -> Tensor:
        return torch.stack([x[:, i] for i in range(x.shape[1])], 1)

    found = giant(asked(loop), SIZES)

    assert found.problem == "more than 10000 operator calls: it loops over an axis"


def test_an_index_that_outgrows_its_dtype_is_seen():
    def indexed(x: Tensor) -> Tensor:
        torch.arange(x.shape[0] * x.shape[1], dtype=torch.int32)
        return x

    found = giant(asked(indexed), SIZES)

    assert found.problem == "arange counts to 4294967295 in torch.int32, which ends at 2147483647"


def test_wrong_shape_and_dtype_are_named():
    assert giant(asked(lambda x: x[:, :3]), SIZES).problem == (
        "shape (4096, 3, 8), expected (4096, 1048576, 8)"
    )
    assert giant(asked(lambda x: x.double()), SIZES).problem == (
        "dtype torch.float64, expected torch.float32"
    )
