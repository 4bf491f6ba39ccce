"""Lengths beyond 2^16: what is wrong only there is caught, and what runs out of memory is not accused."""

import pytest
import torch

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks.long import LENGTH
from attncheck.engine.judging import Known, judge
from attncheck.engine.put import InProcess
from attncheck.model.case import Case
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS
from attnref.long import long_attention

MANY_KEYS, MANY_QUERIES = 0, 1
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
    sizes = {"batch": 1, "heads": 2, "q_len": 5, "kv_len": 7, "head_dim": 4, "v_dim": 11}
    return judge(CHECK, subject, [Case(sizes, seed=form)], InProcess(target), Known())


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
    target = Reference(MECHANISMS["cross"])
    subject = Subject(target.mechanism, target.interface)
    case = Case({"batch": 1, "q_len": 5, "kv_len": 7}, seed=form)

    verdict = judge(CHECK, subject, [case], InProcess(target), Known())

    assert verdict.outcome == "passed", (verdict.reason, verdict.findings)


def test_many_of_both_are_judged_by_rows():
    """The operator of torch needs no more memory for many of both."""

    class Operator(Streaming):
        def call(self, built, inputs, options):
            named = {"is_causal": bool(options.get("causal"))}
            return {"out": torch.nn.functional.scaled_dot_product_attention(*inputs.values(), **named)}

    # Odd turns are causal, which is half the work.
    assert judged(Operator(MECHANISMS["scaled_dot_product"]), 5).outcome == "passed"


def test_what_runs_out_of_memory_is_not_accused():
    class Greedy(Reference):
        def call(self, built, inputs, options):
            raise MemoryError("17 GiB")

    verdict = judged(Greedy(MECHANISMS["scaled_dot_product"]), MANY_KEYS)

    assert verdict.outcome == "skipped"
    assert "too much for it: MemoryError: 17 GiB" in verdict.reason
