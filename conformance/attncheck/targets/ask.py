"""What the judge asks of a target, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from attncheck.model.case import Scalar
from attncheck.model.recipe import Recipe, Recipes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ask:
    """One question: build with `names`, load `parameters`, call with `inputs` and `options`.

    `gradients` names inputs and parameters whose gradients are wanted; the cotangent is random
    with seed `cotangent`. `scenario` is a way of calling that `targets.scenarios` knows.
    `fresh` builds a new instance, where otherwise one is kept per constructor arguments.
    """

    names: Mapping[str, Scalar]
    parameters: Recipes
    inputs: Recipes
    options: Mapping[str, Scalar] = field(default_factory=dict)
    dtype: str = "float64"
    device: str = "cpu"
    train: bool = False
    gradients: tuple[str, ...] = ()
    cotangent: int = 0
    scenario: str = "call"
    fresh: bool = False

    def edit(
        self, tensor: str, op: str, axis: int | None = None, argument: float | tuple[float, ...] | None = None
    ) -> "Ask":
        """The same question with one tensor changed, be it an input or a parameter."""
        place = "inputs" if tensor in self.inputs else "parameters"
        recipes: Recipes = getattr(self, place)
        return replace(self, **{place: {**recipes, tensor: recipes[tensor].edit(op, axis, argument)}})  # type: ignore[arg-type]  # a field of Ask

    def without(self, *inputs: str) -> "Ask":
        """The same question without some optional inputs."""
        return replace(self, inputs={k: v for k, v in self.inputs.items() if k not in inputs})

    def to_json(self) -> dict[str, object]:
        """As it travels."""
        fields = dict(vars(self))
        for place in ("parameters", "inputs"):
            fields[place] = {name: recipe.to_json() for name, recipe in fields[place].items()}
        return fields

    @staticmethod
    def from_json(data: Mapping[str, object]) -> "Ask":
        """The question that `to_json` wrote."""
        fields = dict(data)
        for place in ("parameters", "inputs"):
            fields[place] = {n: Recipe.from_json(r) for n, r in fields[place].items()}  # type: ignore[attr-defined]  # our own format
        fields["gradients"] = tuple(fields["gradients"])  # type: ignore[arg-type]  # our own format
        return Ask(**fields)  # type: ignore[arg-type]  # our own format


@dataclass(frozen=True)
class Trouble:
    """Why there is no answer.

    `stage` is "import", "constructor", "weights", "forward" or "backward"; `kind` an exception's
    name, a signal's name, or "time limit". `lost` says that the process went with it.
    At the stage "refused" the question was not put: it is none for this target. At "adapter" the
    target was not given what it reads, which is no mistake of its own.
    """

    stage: str
    kind: str
    message: str
    lost: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


@dataclass(frozen=True)
class Answer:
    """What came back: tensors by name (`out`, `weights`, `grad.q`, …), facts, or trouble."""

    tensors: "Mapping[str, torch.Tensor]" = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    trouble: Trouble | None = None

    @property
    def out(self) -> "torch.Tensor":
        """The result of the mechanism."""
        return self.tensors["out"]
