"""A kernel's width may be learned as a bandwidth, a variance or a logarithm, by a name that says so."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from attncheck import run
from attncheck.targets.discover import discover
from attncheck.targets.rephrasing import as_source, gradient_of, is_rephrased, rephrased, rephrasings
from attnref.catalogue import BY_ID

PATTERNS = (
    "1 / w",
    "1 / w²",
    "w²",
    "w² / 2",
    "log of w",
    "log of 1 / w",
    "softplus⁻¹ of w",
    "softplus⁻¹ of 1 / w",
)


class Smoother(nn.Module):
    """Kernel regression with a learned number of some meaning."""

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter(self.name(), nn.Parameter(torch.ones(1)))

    @classmethod
    def name(cls) -> str:
        return cls.__name__.lower()

    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        squares = (queries[:, :, None] - keys[:, None]).square()
        scores = self.scaled(squares, self.get_parameter(self.name()))
        return ((-scores).softmax(-1) @ values[:, :, None]).squeeze(-1)


class Sigma(Smoother):
    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares / (2 * number**2)


class Gamma(Smoother):
    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares * number


class Variance(Smoother):
    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares / (2 * number)


class Log_Bandwidth(Smoother):  # the name of its parameter
    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares / (2 * number.exp() ** 2)


class Raw_Length_Scale(Smoother):  # the name of its parameter
    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares / (2 * softplus(number) ** 2)


class Bandwidth(Smoother):
    """The width is not squared."""

    def scaled(self, squares: Tensor, number: Tensor) -> Tensor:
        return squares / (2 * number)


@pytest.mark.parametrize(
    ("target", "pattern"),
    [
        (Sigma, "1 / w"),
        (Gamma, "w² / 2"),
        (Variance, "1 / w²"),
        (Log_Bandwidth, "log of 1 / w"),
        (Raw_Length_Scale, "softplus⁻¹ of 1 / w"),
    ],
)
def test_a_number_is_what_its_name_says(target: type[nn.Module], pattern: str) -> None:
    found = discover(target, BY_ID["kernel_regression"])

    assert found.certainty == "verified"
    assert [placement.pattern for placement in found.placements] == [pattern]


@pytest.mark.parametrize(("target", "conforms"), [(Log_Bandwidth, True), (Bandwidth, False)])
def test_a_right_form_conforms_and_a_wrong_power_does_not(target: type[nn.Module], conforms: bool) -> None:
    report = run(target, mechanism="kernel_regression", budget="quick", seed=2)

    assert report.conforms == conforms


def test_a_name_that_tells_nothing_is_the_inverse_width_itself() -> None:
    assert [*rephrasings("w"), *rephrasings("inverse_width"), *rephrasings("kernel.weight")] == []


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_come_back_through_the_form(pattern: str) -> None:
    """A small step along the gradient changes what stands for the number as the gradient says."""
    width, gradient, step = (
        torch.tensor(0.7, dtype=torch.float64),
        torch.tensor(3.0, dtype=torch.float64),
        1e-6,
    )

    slope = (rephrased(pattern, width + step) - rephrased(pattern, width - step)) / (2 * step)

    assert float(gradient_of(pattern, width, gradient) - 3 * slope) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_source_of_a_form_computes_it(pattern: str) -> None:
    width = torch.tensor(0.7, dtype=torch.float64)

    assert eval(as_source(pattern, "width")) == pytest.approx(float(rephrased(pattern, width)))


def test_an_infinite_bandwidth_has_a_form() -> None:
    """A law asks for a width of which the inverse is zero."""
    zero = torch.tensor(0.0, dtype=torch.float64)

    assert rephrased("log of 1 / w", zero).exp() == float("inf")
    assert softplus(rephrased("softplus⁻¹ of 1 / w", zero)) == float("inf")


def test_other_patterns_are_no_forms() -> None:
    assert not any(map(is_rephrased, ("", "cat", "o i -> i o", "flip")))
