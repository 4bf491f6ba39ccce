"""Strides: what reads memory in another order is caught, and a view that torch refuses is told of."""

import pytest
import torch

from attncheck.checks import strides


def contiguous_strides(tensor):
    """Strides as if the memory were laid out in order."""
    return torch.empty(tensor.shape, device="meta").stride()


def reads_memory_in_order(call, built, inputs, options):
    x = inputs["x"]
    plain = x.as_strided(x.shape, contiguous_strides(x), x.storage_offset())
    return call(built, {**inputs, "x": plain}, options)


def reads_from_the_start_of_memory(call, built, inputs, options):
    x = inputs["x"]
    return call(built, {**inputs, "x": x.as_strided(x.shape, x.stride(), 0)}, options)


def rounds_what_is_strided(call, built, inputs, options):
    """As another kernel does, which sums in float32."""
    out = call(built, inputs, options)["out"]
    return {"out": out if inputs["x"].is_contiguous() else out.float().double()}


def refuses_shared_memory(call, built, inputs, options):
    if any(0 in t.stride() for t in inputs.values()):
        raise RuntimeError("more than one element refers to a single memory location")
    return call(built, inputs, options)


INSTEAD = [
    ("takes_transposed_inputs", reads_memory_in_order),
    ("takes_transposed_inputs", rounds_what_is_strided),
    ("takes_channels_last_inputs", reads_memory_in_order),
    ("takes_offset_inputs", reads_from_the_start_of_memory),
    ("takes_expanded_inputs", refuses_shared_memory),
]


@pytest.mark.parametrize(("check", "instead"), INSTEAD)
def test_what_counts_on_plain_memory_is_caught(verdict, check, instead):
    assert verdict(check, "cross", instead=instead).outcome == "failed"


def takes_a_view(call, built, inputs, options):
    flat = {n: t.view(-1).view(t.shape) for n, t in inputs.items()}
    return call(built, flat, options)


def test_a_view_that_torch_refuses_is_told_of_once_and_held_against_nobody(verdict):
    found = verdict("views_any_memory", "cross", instead=takes_a_view)

    assert found.outcome == "deviates"
    assert "view size is not compatible" in found.findings[0].actual
    strided = verdict("takes_transposed_inputs", "cross", instead=takes_a_view)
    assert strided.reason.endswith("a view is refused, which another check reports")
    assert verdict("views_any_memory", "cross").outcome == "passed"


def raises_for_strides(call, built, inputs, options):
    if any(not t.is_contiguous() for t in inputs.values()):
        raise ValueError("contiguous tensors are wanted")
    return call(built, inputs, options)


def test_another_refusal_of_strides_is_a_failure(verdict):
    found = verdict("takes_transposed_inputs", "cross", instead=raises_for_strides)

    assert found.outcome == "failed"
    assert found.findings[0].actual == "ValueError: contiguous tensors are wanted (in the forward)"


def raises_for_anything(call, built, inputs, options):
    raise ValueError("never")


def test_what_is_raised_for_plain_memory_too_is_for_others_to_say(verdict):
    found = verdict("takes_transposed_inputs", "cross", instead=raises_for_anything)

    assert found.reason.endswith("without strides it raises as well: ValueError: never")


def test_every_check_of_strides_has_an_implementation_that_it_catches():
    assert {check.id for check in strides.CHECKS} == {*(check for check, _ in INSTEAD), "views_any_memory"}
