"""What a module learns is told by name and shape, what it shares as well."""

from torch import nn

from attncheck.targets.layers import learned_shapes


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(2, 3, bias=False)] * 2)
        self.query = self.key = nn.Linear(4, 4, bias=False)
        self.mlp = nn.Sequential(nn.Linear(5, 6, bias=False))
        self.alias = self.mlp


def test_a_layer_that_stands_in_for_several_has_all_its_names_and_an_alias_has_none() -> None:
    assert learned_shapes(Shared()) == {
        "branches.0.weight": (3, 2),
        "branches.1.weight": (3, 2),
        "query.weight": (4, 4),
        "key.weight": (4, 4),
        "mlp.0.weight": (6, 5),
    }


def test_a_shared_norm_has_its_statistics_under_all_its_names() -> None:
    branches = nn.ModuleList([nn.BatchNorm2d(3)] * 2)

    assert set(learned_shapes(branches)) == {
        f"{i}.{leaf}" for i in (0, 1) for leaf in ("weight", "bias", "running_mean", "running_var")
    }
