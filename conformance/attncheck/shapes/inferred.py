"""What the dimensions of parameters are called that no annotation names: learned from instances."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

import torch

from attncheck.model.case import Scalar
from attncheck.shapes.table import UNKNOWN
from attnref import Mechanism
from attnref._signature import Dim
from attnref.axes import BY_NAME


def parameters_in_axes(
    mechanism: Mechanism, samples: Sequence[Mapping[str, Scalar]]
) -> dict[str, tuple[str, ...]]:
    """Every parameter of the reference with the simplest expression that fits each dimension in all samples.

    Parameters that only some of the samples have are left out. The more the samples differ, the
    less can fit by luck.
    """
    if mechanism.module is None:
        return {}
    shapes = [_shapes(mechanism, sample) for sample in samples]
    candidates = list(_candidates(mechanism, samples))
    return {
        name: tuple(
            _name([made[name][place] for made in shapes], candidates) for place in range(len(shapes[0][name]))
        )
        for name in shapes[0]
        if all(name in made for made in shapes)
    }


def _shapes(mechanism: Mechanism, sample: Mapping[str, Scalar]) -> dict[str, tuple[int, ...]]:
    assert mechanism.module is not None, f"{mechanism.id} has no module"
    taken = inspect.signature(mechanism.module).parameters
    with torch.device("meta"):
        module = mechanism.module(**{name: value for name, value in sample.items() if name in taken})
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def _name(extents: Sequence[int], candidates: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    # A size that is the same in all samples is a number, whatever axis happens to equal it.
    if len(set(extents)) == 1:
        return str(extents[0])
    return next((text for text, sizes in candidates if sizes == tuple(extents)), UNKNOWN)


def _candidates(
    mechanism: Mechanism, samples: Sequence[Mapping[str, Scalar]]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Expressions over the axes with their size in every sample, the simple ones first."""
    axes = [name for name in samples[0] if name in BY_NAME]
    texts = [
        *axes,
        *(f"{a} // {b}" for a in axes for b in axes if a != b),
        *(f"{a} * {b}" for i, a in enumerate(axes) for b in axes[i + 1 :]),
        *mechanism.contract.defaults.values(),
        "max(channels // reduction, least_reduced)",
        "height * width + 1",
        "(height + 1) // 32 * ((width + 1) // 32) + 1",
        *(f"{axis} // {n}" for axis in axes for n in (2, 4, 8)),
        *(f"{axis} * {n}" for axis in axes for n in (2, 4, 8, 16, 32)),
    ]
    for text in texts:
        try:
            yield text, tuple(Dim(text).size(sample) for sample in samples)
        except (NameError, ZeroDivisionError, TypeError):
            continue
