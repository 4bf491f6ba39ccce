"""What can be asked of a target of another framework. Imports none of them: the judge reads this too."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bridge:
    """How targets of one framework are reached.

    `kind` is such a target in a sentence. `offers` is what checks may ask of it, of what torch
    has: "gradients", "torch" (its modules, modes and state), "memory" (the target sees the very
    memory of its inputs). `dtypes` are those it is judged in unless a person asks for others. `note` is what the
    header of a report says.
    """

    kind: str
    offers: tuple[str, ...]
    dtypes: tuple[str, ...]
    note: str


_ALL = ("float64", "float32", "bfloat16", "float16")
# XLA multiplies no matrices of float16 on a CPU.
_BUT_FLOAT16 = ("float64", "float32", "bfloat16")
_JAX = "tensors are copied to its arrays and back, under jax.jit, with jax_enable_x64 set"

BRIDGES: Mapping[str, Bridge] = {
    "numpy": Bridge(
        # Beside one of its own numbers, such as np.sqrt(64), an array of float32 turns into float64.
        "a NumPy target", ("memory",), ("float64",), "it computes with NumPy: its arrays are the tensors' memory",
    ),
    "jax": Bridge("a JAX target", ("gradients",), _BUT_FLOAT16, f"it computes with JAX: {_JAX}"),
    "flax": Bridge("a Flax target", ("gradients",), _BUT_FLOAT16, f"it is a module of flax.nnx: {_JAX}"),
    "equinox": Bridge("an Equinox target", ("gradients",), _BUT_FLOAT16, f"it is a module of Equinox: {_JAX}"),
    "keras": Bridge(
        "a Keras target", ("gradients", "memory"), _ALL,
        "it is a layer of Keras on its torch backend, called by stateless_call in the dtype of its inputs",
    ),
}  # fmt: skip


def offered(framework: str) -> tuple[str, ...]:
    """What checks may ask of a target of that framework; torch's own offers everything."""
    return BRIDGES[framework].offers if framework else ("gradients", "torch", "memory")


def dtypes_of(framework: str) -> tuple[str, ...]:
    """The dtypes in which a target of that framework is judged, unless a person asks for others."""
    return BRIDGES[framework].dtypes if framework else _ALL


def note_on(framework: str, mapped: int) -> str:
    """What the header says of a target that is reached over a bridge."""
    note = BRIDGES[framework].note
    axes = {0: "", 1: "; one sample at a time", 2: "; one head of one sample at a time"}
    return note + axes[mapped]
