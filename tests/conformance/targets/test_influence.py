"""A parameter has a say if its value shows in the output, whatever gradients say."""

import torch
from torch import nn

from attncheck.targets.influence import idle_parameters, unregistered


class Layers(nn.Module):
    """One layer whose result is used, one whose result is detached, one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.detached, self.idle = (nn.Linear(3, 3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) + self.detached(x).detach()


def test_only_what_changes_nothing_is_idle() -> None:
    module, x = Layers(), torch.randn(2, 3)

    assert idle_parameters(module, lambda: module(x)) == ("idle.weight", "idle.bias")


def test_where_no_gradient_flows_at_all_values_decide() -> None:
    module, x = Layers(), torch.randn(2, 3)

    assert idle_parameters(module, lambda: module(x).detach()) == ("idle.weight", "idle.bias")


def test_the_parameters_keep_their_values() -> None:
    module, x = Layers(), torch.randn(2, 3)
    before = {n: p.clone() for n, p in module.named_parameters()}

    idle_parameters(module, lambda: module(x))

    assert all(torch.equal(before[n], p) for n, p in module.named_parameters())


def test_what_is_not_learned_is_not_asked_for() -> None:
    module, x = Layers(), torch.randn(2, 3)
    module.idle.requires_grad_(False)

    assert idle_parameters(module, lambda: module(x)) == ()


def test_a_plain_function_has_no_parameters() -> None:
    assert idle_parameters(torch.relu, lambda: torch.relu(torch.ones(2))) == ()


def test_a_leaf_that_wants_a_gradient_and_is_no_parameter_is_unregistered() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].factor = torch.ones(1, requires_grad=True)
    model[0].kept = model[0].weight * 2
    model[0].constant = torch.ones(1)

    assert unregistered(model) == ("0.factor",)
    assert unregistered(len) == ()
