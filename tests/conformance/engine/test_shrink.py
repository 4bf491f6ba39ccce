"""The smallest case is no larger than the one that was found, and fails in the same way."""

from collections.abc import Mapping

import pytest
from torch import Tensor

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks import Check
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.shrink import smallest
from attncheck.model.finding import Finding
from attncheck.targets.adapter import Interface, Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID

MECHANISM = BY_ID["scaled_dot_product"]


class Wrong(Reference):
    """The reference, wrong from five keys on."""

    def call(
        self, built: object, inputs: Mapping[str, Tensor], options: Mapping[str, object]
    ) -> Mapping[str, Tensor]:
        results = super().call(built, inputs, options)  # type: ignore[arg-type]  # the reference's own
        return {**results, "out": results["out"] + float(inputs["k"].shape[2] >= 5)}


def found(check: Check, seed: int) -> tuple[Subject, InProcess, Finding]:
    adapter = Wrong(MECHANISM)
    interface: Interface = adapter.interface
    subject, executor = Subject(MECHANISM, interface), InProcess(adapter)
    verdict = judge(check, subject, cases(check, subject, "quick", seed), executor, Known())
    assert verdict.outcome == "failed"
    return subject, executor, verdict.findings[0]


@pytest.mark.parametrize("check", ["matches_the_reference", "masked_equals_removed"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_axis_grows_and_the_case_still_fails(check: str, seed: int) -> None:
    subject, executor, finding = found(CHECKS[check], seed)

    small = smallest(CHECKS[check], subject, finding, executor, Known())

    assert all(small.case.sizes[axis] <= size for axis, size in finding.case.sizes.items())
    again = judge(CHECKS[check], subject, [small.case], executor, Known())
    assert again.findings[0].kind == finding.kind


def test_a_mistake_from_five_keys_on_shrinks_to_five_keys() -> None:
    subject, executor, finding = found(CHECKS["matches_the_reference"], 1)

    small = smallest(CHECKS["matches_the_reference"], subject, finding, executor, Known())

    sizes = {"batch": 1, "heads": 1, "q_len": 1, "kv_len": 5, "head_dim": 1, "v_dim": 1}
    assert dict(small.case.sizes) == sizes
