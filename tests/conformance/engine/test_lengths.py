"""A failure at a great width is followed down to where it begins, and told as one size."""

import torch
from torch import Tensor

from attncheck.engine.lengths import is_large
from attncheck.engine.request import Request
from attncheck.engine.run import run
from attncheck.model.case import Case
from attncheck.targets.adapter import Reference
from attncheck.targets.legal import default_options
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID


def of_64_features(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of queries and keys of which the first 64 features are read."""
    scores = q[..., :64] @ k[..., :64].mT / q.shape[-1] ** 0.5
    return torch.softmax(scores, -1) @ v


def test_a_width_at_which_failing_begins_is_told_exactly() -> None:
    report = run(
        Request(
            of_64_features, "scaled_dot_product", checks=("matches_the_reference",), seed=3, isolate=False
        )
    )
    (finding,) = (finding for verdict in report.verdicts for finding in verdict.findings)

    assert finding.sizes == "head_dim > 64"
    assert finding.case.sizes["head_dim"] == 65
    assert finding.defect == "scaled_dot_product.features_past_64_unread"


def in_chunks_of_32(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of 32 samples at a time, in which the last ones are forgotten unless they are 32 too."""
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, max(1, q.shape[0] // 32 * 32), 32):
        some = slice(start, start + 32)
        scores = q[some] @ k[some].mT / q.shape[-1] ** 0.5
        out[some] = torch.softmax(scores, -1) @ v[some]
    return out


def test_where_great_sizes_are_right_again_the_least_that_fails_is_shown() -> None:
    report = run(
        Request(
            in_chunks_of_32, "scaled_dot_product", checks=("matches_the_reference",), seed=3, isolate=False
        )
    )
    (finding,) = (finding for verdict in report.verdicts for finding in verdict.findings)

    assert finding.case.sizes["batch"] == 33


def test_only_sizes_far_from_the_usual_ones_are_large() -> None:
    reference = Reference(BY_ID["dot_product"])
    subject = Subject(reference.mechanism, reference.interface)
    usual = {"batch": 2, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 22}

    assert not is_large(subject, Case(usual, default_options(subject)))
    assert is_large(subject, Case({**usual, "v_dim": 23}, default_options(subject)))
    assert is_large(subject, Case({**usual, "batch": 129}, default_options(subject)))
