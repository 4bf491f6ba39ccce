"""Transformations: a value that changes is caught, a refusal never is, and every reference passes what it takes."""

import pytest
import torch
from torch import nn

from attncheck.checks import BY_ID as CHECKS
from attncheck.checks import transforms
from attncheck.engine.judging import Known, judge
from attncheck.engine.plan import cases
from attncheck.engine.put import InProcess
from attncheck.targets.adapter import Reference
from attncheck.targets.subject import Subject
from attnref.catalogue import BY_ID as MECHANISMS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def judged(check, mechanism, target=None, budget="deep"):
    """The verdict on the first case of a budget: a compilation takes seconds."""
    target = target or Reference(MECHANISMS[mechanism])
    subject = Subject(MECHANISMS[mechanism], target.interface)
    some = cases(CHECKS[check], subject, budget, 1)[:1]
    return judge(CHECKS[check], subject, some, InProcess(target), Known())


class Forgetful(Reference):
    """Asks torch whether it is being transformed, and is wrong then."""

    def build(self, names):
        built = super().build(names)
        return Doubled(built) if isinstance(built, nn.Module) else doubled(built)


def doubled(function):
    def call(q, k, v, **options):
        out = function(q, k, v, **options)
        return out * 2 if torch.compiler.is_compiling() else out

    return call


class Doubled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **named):
        out = self.inner(*args, **named)
        return out * 2 if torch.compiler.is_compiling() else out


class WrongGradient(Reference):
    """Right values, and a gradient that is lost while torch compiles."""

    def build(self, names):
        function = super().build(names)

        def call(q, k, v, **options):
            if torch.compiler.is_compiling():
                k = k.detach() + 0 * k
            return function(q, k, v, **options)

        return call


def test_a_value_that_changes_under_compile_is_caught():
    verdict = judged(
        "compile_equals_eager", "scaled_dot_product", Forgetful(MECHANISMS["scaled_dot_product"])
    )

    assert verdict.outcome == "failed"
    assert "the compiled out" in verdict.findings[0].expected


def test_a_gradient_that_is_lost_under_compile_is_caught():
    verdict = judged(
        "compile_equals_eager", "scaled_dot_product", WrongGradient(MECHANISMS["scaled_dot_product"])
    )

    assert verdict.outcome == "failed"
    assert "the compiled grad.k" in verdict.findings[0].expected


def test_an_exported_program_with_other_values_is_caught():
    verdict = judged(
        "export_runs_at_other_sizes", "scaled_dot_product", Forgetful(MECHANISMS["scaled_dot_product"])
    )

    assert verdict.outcome == "failed"


def doubles_when_mapped(out, inputs, built):
    return out * 2 if torch._C._functorch.is_batchedtensor(out) else out


def doubles_under_autocast(out, inputs, built):
    return out * 2 if torch.is_autocast_enabled("cpu") else out


def remembers_its_birth(module):
    """A copy that no parameter knows of, so that nobody can replace it."""
    module.own = [module.query.weight.detach().clone()]
    return module


def scales_by_what_it_remembers(out, inputs, built):
    return out * (2 + built.own[0].sum().to(out.dtype))


def keeps_a_table_out_of_its_state(module):
    module.register_buffer(
        "table", torch.full((1,), 2.0, device=module.query.weight.device), persistent=False
    )
    return module


def scales_by_its_table(out, inputs, built):
    return out * built.table


def test_a_value_that_changes_under_vmap_is_caught(verdict):
    assert verdict("vmap_equals_loop", "multi_head", doubles_when_mapped).outcome == "failed"


def test_a_value_that_changes_under_autocast_is_caught(verdict):
    assert verdict("autocast_runs", "multi_head", doubles_under_autocast).outcome == "failed"


def test_a_weight_that_functional_call_cannot_replace_is_caught(verdict):
    made = verdict(
        "functional_call_equals_call", "cross", scales_by_what_it_remembers, built=remembers_its_birth
    )

    assert made.outcome == "failed"


def test_a_buffer_that_no_state_dict_holds_deviates_and_does_not_fail(verdict):
    made = verdict(
        "survives_meta_construction", "cross", scales_by_its_table, built=keeps_a_table_out_of_its_state
    )

    assert made.outcome == "deviates"
    assert made.reason == "what its constructor computes is in no state_dict"


class Branching(Reference):
    """Right, and impossible to trace: the way it takes depends on values."""

    def call(self, built, inputs, options):
        if inputs["q"].sum().item() > 1e9:
            raise RuntimeError("too large")
        return super().call(built, inputs, options)


@pytest.mark.parametrize("check", ["export_runs_at_other_sizes", "vmap_equals_loop"])
def test_a_refusal_is_no_failure_and_says_why(check):
    verdict = judged(check, "scaled_dot_product", Branching(MECHANISMS["scaled_dot_product"]))

    assert verdict.outcome == "skipped"
    assert verdict.reason.startswith("no case could be judged: torch refuses: ")


def test_what_is_not_compiled_at_all_is_not_judged():
    class Elsewhere(Reference):
        def call(self, built, inputs, options):
            return super().call(self.mechanism.call, inputs, options)

    verdict = judged(
        "compile_equals_eager", "scaled_dot_product", Elsewhere(MECHANISMS["scaled_dot_product"])
    )

    assert verdict.outcome == "skipped"
    assert "torch.compile found nothing in it to compile" in verdict.reason


@pytest.mark.parametrize("mechanism", ["scaled_dot_product", "multi_head"])
@pytest.mark.parametrize("check", ["compile_equals_eager", "export_runs_at_other_sizes"])
def test_a_reference_passes_what_is_too_slow_for_the_quick_budget(check, mechanism):
    verdict = judged(check, mechanism)

    assert verdict.outcome == "passed", (verdict.reason, verdict.findings)


@pytest.mark.parametrize(
    "check", ["compile_equals_eager", "generated_code_equals_eager", "export_runs_at_other_sizes"]
)
def test_a_slow_check_says_which_budget_it_needs(check):
    verdict = judged(check, "scaled_dot_product", budget="quick")

    needed = "deep" if "equals_eager" in check else "default or deep"
    assert verdict.reason == f"no case could be judged: slow: judged with --budget {needed}"


def test_targets_in_several_processes_are_not_transformed():
    reference = Reference(MECHANISMS["scaled_dot_product"])
    subject = Subject(reference.mechanism, reference.interface, world=2)

    assert {check.applies(subject) for check in transforms.CHECKS if check.applies(subject)} >= {
        "the target computes in 2 processes at a time"
    }
    assert all(check.applies(subject) for check in transforms.CHECKS)
