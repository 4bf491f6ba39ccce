"""Maps of more than 2^16 pixels: what is wrong only there is caught, and what has no room for it is not accused."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks import maps
from attncheck.defects import DEFECTS
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.engine.trials import tried
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS

CHECK = CHECKS["large_maps_match"]
DEEP = [defect for defect in DEFECTS if defect.needs == "--budget deep"]


class Fused(Reference):
    """Spatial self-attention over torch's operator, which keeps no weights."""

    def call(self, built, inputs, options):
        x = inputs["x"]
        layers = (built.query, built.key, built.value)
        q, k, v = (layer(x).flatten(2).mT[:, None].contiguous() for layer in layers)
        read = scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].mT.unflatten(2, x.shape[2:])
        return {"out": built.gamma * read + x}


def judged(target):
    subject = Subject(target.mechanism, target.interface)
    return judge(CHECK, subject, cases(CHECK, subject, "deep", seed=1), InProcess(target), Known())


def test_a_right_implementation_that_keeps_no_weights_passes():
    verdict = judged(Fused(MECHANISMS["spatial_self"]))

    assert (verdict.outcome, verdict.cases) == ("passed", 1), (verdict.reason, verdict.findings)


def test_criss_cross_needs_no_such_room_and_passes_as_it_is():
    verdict = judged(Reference(MECHANISMS["criss_cross"]))

    assert verdict.outcome == "passed", (verdict.reason, verdict.findings)


class LosesTheLastPixels(Reference):
    """Pixels beyond 2^16 read nothing."""

    def call(self, built, inputs, options):
        out = super().call(built, inputs, options)["out"].flatten(2)
        out[:, :, 2**16 :] = inputs["x"].flatten(2)[:, :, 2**16 :]
        return {"out": out.reshape(inputs["x"].shape)}


def test_pixels_that_read_nothing_are_caught():
    assert judged(LosesTheLastPixels(MECHANISMS["criss_cross"])).outcome == "failed"


@pytest.mark.parametrize("defect", DEEP, ids=lambda d: d.id)
def test_a_mistake_that_shows_only_beyond_65536_is_caught(defect):
    ((check, family),) = tried(defect, "default", seed=1).killed_by

    assert (check, family) == (
        "large_maps_match" if "pixels" in defect.id else "long_sequences_match",
        "value",
    )


@pytest.mark.parametrize("defect", [DEEP[0], DEEP[-1]], ids=lambda d: d.id)
def test_no_check_at_usual_sizes_finds_it(defect):
    assert tried(replace(defect, needs=""), "quick", seed=1, exhaustive=True).killed_by == ()


def test_what_runs_out_of_memory_is_not_accused():
    class Greedy(Reference):
        def call(self, built, inputs, options):
            raise MemoryError("17 GiB")

    verdict = judged(Greedy(MECHANISMS["non_local"]))

    assert verdict.outcome == "skipped"
    assert "too much for it: MemoryError: 17 GiB" in verdict.reason


def flattened(call, built, inputs, options):
    return {"out": inputs["x"].flatten(2)}


@pytest.mark.parametrize(
    ("change", "sizes", "reason"),
    [
        ({"interface": {"norms": ("norm",)}}, {}, "pixels of it cannot be computed alone"),
        ({}, {"height": 1, "width": 1}, "one pixel is no map"),
        ({"instead": flattened}, {"height": 5, "width": 3}, "the output has another shape"),
    ],
)
def test_what_large_maps_say_nothing_of_is_skipped_with_the_reason(verdict, case_of, change, sizes, reason):
    found = verdict("large_maps_match", "criss_cross", given=[case_of("criss_cross", **sizes)], **change)

    assert found.outcome == "skipped"
    assert reason in found.reason


def test_a_result_in_another_dtype_says_nothing_of_float16(verdict, case_of):
    large = [case_of("squeeze_excitation", **maps.AVERAGED[0])]

    def widens(out, inputs, built):
        return out.float() * torch.nan

    found = verdict("means_fit_float16", "squeeze_excitation", widens, given=large)
    assert found.outcome == "skipped"
    assert "no result in float16" in found.reason


def test_mechanisms_without_weights_for_pixels_are_skipped_with_the_reason():
    reference = Reference(MECHANISMS["squeeze_excitation"])

    reason = CHECK.applies(Subject(reference.mechanism, reference.interface))

    assert reason == "squeeze_excitation has no weights for pairs of pixels"


@pytest.mark.parametrize("mechanism", ["squeeze_excitation", "cbam_channel"])
def test_a_sum_that_float16_cannot_hold_deviates_before_it_becomes_a_mean(verdict, case_of, mechanism):
    large = [case_of(mechanism, **maps.AVERAGED[0])]

    def of_a_sum(call, built, inputs, options):
        x = inputs["x"]
        if bool(x.flatten(2).sum(-1).isinf().any()):
            return {"out": x * torch.nan}
        return call(built, inputs, options)

    assert verdict("means_fit_float16", mechanism, instead=of_a_sum, given=large).outcome == "deviates"
    assert verdict("means_fit_float16", mechanism, given=large).outcome == "passed"


def test_what_takes_no_mean_of_a_map_is_skipped_with_the_reason(verdict):
    assert verdict("means_fit_float16", "non_local").reason == "non_local has no gate of a mean"
