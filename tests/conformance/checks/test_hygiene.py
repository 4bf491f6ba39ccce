"""Good manners: a module that writes into what is not its own, remembers, or forgets is caught."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks import hygiene
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.targets.adapter import Reference, parameter_shapes
from attncheck.targets.probing import lacking_parameters
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID


def writes_into_its_input(call, built, inputs, options):
    results = call(built, inputs, options)
    with torch.no_grad():
        inputs["y"].add_(1)
    return results


def writes_into_one_buffer():
    kept = {}

    def instead(call, built, inputs, options):
        out = call(built, inputs, options)["out"]
        return {"out": kept.setdefault(out.shape, torch.empty_like(out)).copy_(out)}

    return instead


def adds_noise(out, inputs, built):
    return out + 0.01 * torch.rand_like(out)


def draws_and_throws_away(out, inputs, built):
    torch.rand(1)
    return out


def sets_the_default_dtype(out, inputs, built):
    torch.set_default_dtype(torch.float64)
    return out


def returns_its_input(call, built, inputs, options):
    return {"out": inputs["x"]}


def learns_while_answering(out, inputs, built):
    with torch.no_grad():
        built.query.weight.mul_(0.5)
    return out


def remembers_by_address():
    """Answers by the memory of its input, whatever stands there now."""
    known = {}

    def call(inner, built, inputs, options):
        key = (inputs["y"].data_ptr(), tuple(inputs["y"].shape))
        if key not in known:
            # The input is kept alive, or its address would serve another one.
            known[key] = ({n: t.clone() for n, t in inner(built, inputs, options).items()}, inputs["y"])
        return known[key][0]

    return call


def remembers_its_first_length(name):
    """Scales by the first number of queries or of keys that an instance has met."""
    first = {}

    def call(inner, built, inputs, options):
        length = first.setdefault(id(built), (inputs[name].shape[1], built))[0]
        results = inner(built, inputs, options)
        return {**results, "out": results["out"] * length}

    return call


def knows_its_first_instance():
    """Keeps what it needs outside of the module, under the module's identity."""
    kept = {}

    def call(inner, built, inputs, options):
        own = kept.setdefault(id(built), (1 + len(kept), built))[0]
        results = inner(built, inputs, options)
        return {**results, "out": results["out"] * own}

    return call


def rounds_at_second_sight():
    """Answers from a cache in float32."""
    seen = []

    def call(inner, built, inputs, options):
        out = inner(built, inputs, options)["out"]
        again = any(first is inputs["x"] for first in seen)
        seen.append(inputs["x"])
        return {"out": out.float().double() if again else out}

    return call


CHANGES = [
    ("repeats_itself", adds_noise),
    ("draws_no_random_numbers", draws_and_throws_away),
    ("leaves_global_state_alone", sets_the_default_dtype),
    ("keeps_its_parameters", learns_while_answering),
]
INSTEAD = [
    ("never_mutates_inputs", writes_into_its_input),
    ("output_owns_its_memory", returns_its_input),
    ("answer_outlives_the_next_call", writes_into_one_buffer()),
    ("sees_new_contents", remembers_by_address()),
    ("forgets_other_sizes", remembers_its_first_length("x")),
    ("forgets_other_sizes", remembers_its_first_length("y")),
    ("survives_a_deep_copy", knows_its_first_instance()),
    ("survives_its_state_dict", knows_its_first_instance()),
    ("sees_new_contents", rounds_at_second_sight()),
]


def writes_the_future_into_the_bias(call, built, inputs, options):
    if "bias" in inputs and options.get("causal"):
        inputs["bias"].masked_fill_(inputs["bias"] > 0, -1.0)
    return call(built, inputs, options)


def test_numbers_to_add_are_handed_over_too_and_under_every_option(verdict):
    found = verdict("never_mutates_inputs", "scaled_dot_product", instead=writes_the_future_into_the_bias)

    assert found.outcome == "failed"
    assert found.findings[0].actual == "bias was written to"
    assert found.findings[0].case.options["causal"]


@pytest.mark.parametrize(("check", "change"), CHANGES)
def test_bad_manners_after_the_call_are_caught(verdict, check, change):
    assert verdict(check, "cross", change).outcome == "failed"


@pytest.mark.parametrize(("check", "instead"), INSTEAD)
def test_bad_manners_around_the_call_are_caught(verdict, check, instead):
    assert verdict(check, "cross", instead=instead).outcome == "failed"


def test_a_module_that_registers_too_little_is_caught():
    """Layers kept in a plain list are not among parameters(), so no optimizer would find them."""
    target = Reference(BY_ID["cross"])
    shapes = parameter_shapes(BY_ID["cross"], {"query_size": 2, "key_size": 3, "head_dim": 5, "v_dim": 7})
    registered = {"query.weight": shapes["query.weight"]}
    lacking = lacking_parameters(registered, shapes, heads=1)
    subject = Subject(BY_ID["cross"], replace(target.interface, lacking=lacking))
    check = CHECKS["registers_its_parameters"]

    verdict = judge(check, subject, cases(check, subject, "quick", 1), InProcess(target), Known())

    assert verdict.outcome == "failed"
    # 2·5 for the queries, where 2·5 + 3·5 + 3·7 are needed.
    assert "10 numbers are registered as parameters, where at least 46 must be" in verdict.findings[0].actual


def test_a_tensor_that_is_to_be_learned_and_is_no_parameter_is_caught_and_named(verdict):
    class HasAFactorOfItsOwn(Reference):
        def build(self, names):
            built = super().build(names)
            built.key.factor = torch.ones(1, requires_grad=True)
            # Under another name, what is registered is no finding.
            built.__dict__["tied"] = built.query.weight
            return built

    subject = Subject(BY_ID["cross"], Reference(BY_ID["cross"]).interface)
    check = CHECKS["registers_its_parameters"]
    target = HasAFactorOfItsOwn(BY_ID["cross"])

    verdict = judge(check, subject, cases(check, subject, "quick", 1), InProcess(target), Known())

    assert verdict.outcome == "failed"
    assert verdict.findings[0].actual == "key.factor elsewhere"


def ignores_its_query_layer(call, built, inputs, options):
    """Queries are keys, as where a name was mistyped."""
    y = inputs["y"]
    keys = built.key(y)
    out = (keys.mean(1, keepdim=True) @ keys.mT).softmax(-1) @ built.value(y)
    return {"out": out.expand(-1, inputs["x"].shape[1], -1)}


def test_a_layer_that_has_no_say_is_caught_and_named(verdict):
    finding = verdict("uses_its_parameters", "cross", instead=ignores_its_query_layer).findings[0]

    assert finding.actual == "query.weight, query.bias have none"


def moves_its_key_layer_to_the_queries(call, built, inputs, options):
    """What the keys' bias adds to a row of logits is one number for all keys, so it is left out."""
    x, y = inputs["x"], inputs["y"]
    logits = built.query(x) @ built.key.weight @ y.mT * built.key.weight.shape[0] ** -0.5
    return {"out": logits.softmax(-1) @ built.value(y)}


def test_a_bias_of_keys_that_is_left_out_because_it_cancels_is_no_finding(verdict):
    found = verdict("uses_its_parameters", "cross", instead=moves_its_key_layer_to_the_queries)

    assert found.outcome == "passed"


@pytest.mark.parametrize(("sizes", "outcome"), [({"batch": 2}, "failed"), ({"kv_len": 1}, "skipped")])
def test_where_a_size_is_one_a_layer_may_have_no_say(verdict, case_of, sizes, outcome):
    given = [case_of("cross", **sizes)]

    found = verdict("uses_its_parameters", "cross", instead=ignores_its_query_layer, given=given)

    assert found.outcome == outcome


def test_one_key_is_its_own_half(verdict, case_of):
    given = [case_of("cross", seed, q_len=1, kv_len=1) for seed in range(2)]

    assert verdict("forgets_other_sizes", "cross", given=given).outcome == "passed"


def test_every_check_of_manners_has_an_implementation_that_it_catches():
    tested = {check for check, _ in (*CHANGES, *INSTEAD)} | {
        "forgets_an_earlier_mask",
        "registers_its_parameters",
        "uses_its_parameters",
    }
    assert {check.id for check in hygiene.CHECKS} == tested


def cuts_its_first_diagonal(call, built, inputs, options):
    """A causal mask is kept from the first call, and cut to size from the wrong end."""
    if not options.get("causal"):
        return call(built, inputs, options)
    q_len, kv_len = inputs["q"].shape[1], inputs["k"].shape[1]
    visible = torch.ones(q_len, kv_len, dtype=torch.bool).tril()
    first = built.__dict__.setdefault("first_diagonal", visible)
    if first.shape[0] >= q_len and first.shape[1] >= kv_len:
        visible = first[:q_len, -kv_len:]
    return call(built, {**inputs, "mask": visible[None, None]}, {**options, "causal": False})


def test_a_causal_mask_kept_from_a_longer_call_is_caught(verdict):
    found = verdict("forgets_other_sizes", "multi_head", instead=cuts_its_first_diagonal)

    assert found.outcome == "failed"


def writes_masks_into_its_diagonal(call, built, inputs, options):
    """A causal mask is kept for each length, and a mask of no further axes is written into it."""
    if not options.get("causal"):
        return call(built, inputs, options)
    q_len, kv_len = inputs["q"].shape[1], inputs["k"].shape[1]
    kept = built.__dict__.setdefault("diagonals", {})
    visible = kept.setdefault((q_len, kv_len), torch.ones(1, 1, q_len, kv_len, dtype=torch.bool).tril())
    mask = inputs.get("mask")
    if mask is not None and mask.numel() == visible.numel():
        visible &= mask.reshape(visible.shape)
    elif mask is not None:
        visible = visible & mask
    return call(built, {**inputs, "mask": visible}, {**options, "causal": False})


def test_a_mask_that_a_later_call_still_sees_is_caught(verdict):
    found = verdict("forgets_an_earlier_mask", "multi_head", instead=writes_masks_into_its_diagonal, seed=2)

    assert found.outcome == "failed"


class Remembers(nn.Module):
    """A channel gate that counts up to the largest map so far."""

    def __init__(self, gate: nn.Module, *, persistent: bool) -> None:
        super().__init__()
        self.gate = gate
        self.register_buffer("places", torch.arange(0), persistent=persistent)

    def forward(self, *args, **kwargs):
        out = self.gate(*args, **kwargs)
        if len(self.places) < out.shape[-1]:
            self.places = torch.arange(out.shape[-1])
        return out


@pytest.mark.parametrize(("persistent", "outcome"), [(True, "failed"), (False, "passed")])
def test_only_what_is_saved_has_to_stay_as_it_is(verdict, persistent, outcome):
    def wrapped(module):
        return Remembers(module, persistent=persistent)

    assert verdict("keeps_its_parameters", "squeeze_excitation", built=wrapped).outcome == outcome


def test_a_map_that_is_pooled_is_not_halved_below_what_can_be_pooled(verdict, case_of):
    def pooling(call, built, inputs, options):
        torch.nn.functional.max_pool2d(inputs["x"], 2)
        return call(built, inputs, options)

    case = case_of("non_local", height=3, width=4).with_options(sub_sample=True)
    found = verdict("forgets_other_sizes", "non_local", instead=pooling, given=[case])

    assert found.outcome == "passed"
