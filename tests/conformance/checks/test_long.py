"""Lengths beyond 2^16: what is wrong only there is caught, and what runs out of memory is not accused."""

from dataclasses import replace

import pytest
import torch

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks.long import BLOCKS, LENGTH, SQUARE
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS
from attnref.long import long_attention

MANY_KEYS, MANY_QUERIES, MANY_OF_BOTH, CAUSAL = range(4)
CHECK = CHECKS["long_sequences_match"]


class Streaming(Reference):
    """The right answer in little memory; `keys` and `rows` are as many as it can count."""

    keys = rows = LENGTH

    def call(self, built, inputs, options):
        q, k, v = inputs["q"], inputs["k"][:, :, : self.keys], inputs["v"][:, :, : self.keys]
        out = long_attention(q, k, v, causal=bool(options.get("causal")))
        out[:, :, self.rows :] = 0
        return {"out": out}


class CountsKeysIn16Bits(Streaming):
    keys = 2**16


class CountsRowsIn16Bits(Streaming):
    rows = 2**16


def judged(target, form):
    subject = Subject(target.mechanism, target.interface)
    case = cases(CHECK, subject, "deep", seed=1)[form]
    return judge(CHECK, subject, [case], InProcess(target), Known())


def test_the_cases_are_as_long_as_they_say():
    reference = Reference(MECHANISMS["scaled_dot_product"])
    planned = cases(CHECK, Subject(reference.mechanism, reference.interface), "deep", seed=1)

    lengths = [(case.sizes["q_len"], case.sizes["kv_len"]) for case in planned]
    assert lengths == [(61, LENGTH), (LENGTH, 61), (SQUARE, SQUARE), (SQUARE, SQUARE)]
    assert [case.options["causal"] for case in planned] == [False, False, False, True]


def test_no_budget_but_the_deep_one_has_such_cases():
    reference = Reference(MECHANISMS["scaled_dot_product"])
    subject = Subject(reference.mechanism, reference.interface)

    assert [cases(CHECK, subject, budget, seed=1) for budget in ("quick", "default")] == [[], []]


@pytest.mark.parametrize("form", [MANY_KEYS, MANY_QUERIES])
def test_a_right_implementation_passes(form):
    assert judged(Streaming(MECHANISMS["scaled_dot_product"]), form).outcome == "passed"


@pytest.mark.parametrize(
    ("form", "target"), [(MANY_KEYS, CountsKeysIn16Bits), (MANY_QUERIES, CountsRowsIn16Bits)]
)
def test_what_is_wrong_only_beyond_65536_is_caught(form, target):
    assert judged(target(MECHANISMS["scaled_dot_product"]), form).outcome == "failed"


@pytest.mark.parametrize("form", [MANY_KEYS, MANY_QUERIES])
def test_a_mechanism_with_weights_is_judged_too(form):
    verdict = judged(Reference(MECHANISMS["cross"]), form)

    assert verdict.outcome == "passed", (verdict.reason, verdict.findings)


class Forgetful(Streaming):
    """Right but for the one key, or the one row, behind 2^16."""

    def call(self, built, inputs, options):
        q, k, v = inputs.values()
        return {"out": long_attention(q, k[:, :, : 2**16], v[:, :, : 2**16])}


def test_one_key_too_many_is_enough():
    target = Forgetful(MECHANISMS["scaled_dot_product"])
    subject = Subject(target.mechanism, target.interface)
    case = cases(CHECK, subject, "deep", seed=1)[MANY_KEYS]

    def outcome(keys):
        sizes = {**case.sizes, "kv_len": keys}
        return judge(CHECK, subject, [replace(case, sizes=sizes)], InProcess(target), Known()).outcome

    assert [outcome(2**16), outcome(2**16 + 1)] == ["passed", "failed"]


class Fused(Reference):
    """Multi-head attention over torch's operator; `keys` are as many as it can count."""

    keys = SQUARE

    def call(self, built, inputs, options):
        layers = ((built.query, "q"), (built.key, "k"), (built.value, "v"))
        q, k, v = (layer(inputs[n]).unflatten(-1, (built.heads, -1)).transpose(1, 2) for layer, n in layers)
        k, v = k[:, :, : self.keys], v[:, :, : self.keys]
        named = {"is_causal": bool(options.get("causal"))}
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, **named)
        return {"out": built.output(out.transpose(1, 2).flatten(2))}


class FusedIn16Bits(Fused):
    keys = 2**16


@pytest.mark.parametrize(("target", "outcome"), [(Fused, "passed"), (FusedIn16Bits, "failed")])
def test_rows_of_a_mechanism_with_weights_are_held_against_the_reference(target, outcome):
    verdict = judged(target(MECHANISMS["multi_head"]), MANY_OF_BOTH)

    assert verdict.outcome == outcome, (verdict.reason, verdict.findings)


def test_many_of_both_are_judged_by_rows():
    """The operator of torch needs no more memory for many of both."""

    class Operator(Streaming):
        def call(self, built, inputs, options):
            named = {"is_causal": bool(options.get("causal"))}
            return {"out": torch.nn.functional.scaled_dot_product_attention(*inputs.values(), **named)}

    # Causal is half the work.
    assert judged(Operator(MECHANISMS["scaled_dot_product"]), CAUSAL).outcome == "passed"


def test_what_runs_out_of_memory_is_not_accused():
    class Greedy(Reference):
        def call(self, built, inputs, options):
            raise MemoryError("17 GiB")

    verdict = judged(Greedy(MECHANISMS["scaled_dot_product"]), MANY_KEYS)

    assert verdict.outcome == "skipped"
    assert "too much for it: MemoryError: 17 GiB" in verdict.reason


class OfOneBlock(Reference):
    """The reference for the first 1024 keys."""

    def call(self, built, inputs, options):
        inputs = {n: t[..., :1024, :] if n in ("k", "v") else t for n, t in inputs.items()}
        return super().call(built, {n: t for n, t in inputs.items() if n != "mask"}, options)


class MadeFor1024(Reference):
    """The reference, which refuses what is longer."""

    def call(self, built, inputs, options):
        if max(inputs["q"].shape[-2], inputs["k"].shape[-2]) > 1024:
            raise ValueError("at most 1024 positions")
        return super().call(built, inputs, options)


def judged_in_blocks(target):
    subject, check = Subject(target.mechanism, target.interface), CHECKS["many_positions_match"]
    plain = [replace(case, masking="") for case in cases(check, subject, "default", seed=1)]
    return judge(check, subject, plain, InProcess(target), Known())


def test_what_is_wrong_beyond_1024_positions_is_caught_by_default():
    assert judged_in_blocks(OfOneBlock(MECHANISMS["scaled_dot_product"])).outcome == "failed"


def test_what_is_made_for_1024_positions_is_not_accused():
    verdict = judged_in_blocks(MadeFor1024(MECHANISMS["scaled_dot_product"]))

    assert verdict.outcome == "skipped"
    assert "more than it is made for" in verdict.reason


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_meets_a_number_of_positions_past_a_block(mechanism):
    reference = Reference(MECHANISMS[mechanism])
    subject = Subject(reference.mechanism, reference.interface)
    planned = cases(CHECKS["many_positions_match"], subject, "default", seed=1)

    assert planned
    for case in planned:
        pixels = case.sizes.get("height", 1) * case.sizes.get("width", 1)
        assert max(pixels, *case.sizes.values()) > 1024


def test_the_plans_are_for_axes_of_positions_alone():
    reference = Reference(MECHANISMS["scaled_dot_product"])
    planned = cases(
        CHECKS["many_positions_match"], Subject(reference.mechanism, reference.interface), "deep", 1
    )

    assert len(planned) == 3 < len(BLOCKS)
