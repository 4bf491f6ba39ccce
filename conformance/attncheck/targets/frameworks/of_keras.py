"""Keras on its torch backend: layers are built by their first call and called without state."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch
from torch import Tensor

from attncheck.model.errors import NoAdapterError
from attncheck.targets.frameworks.crossing import flattened


@dataclass
class Layer:
    """One layer: a layer of Keras computes in the dtype it was made for, so there is one for each."""

    target: type
    arguments: Mapping[str, Any]
    made: dict[str, Any] = field(default_factory=dict)

    def of(self, dtype: torch.dtype) -> Any:
        """The layer that computes in a dtype."""
        name = str(dtype).removeprefix("torch.")
        if name not in self.made:
            usual = keras.config.dtype_policy()
            keras.config.set_dtype_policy(name)
            try:
                self.made[name] = self.target(**self.arguments)
            finally:
                keras.config.set_dtype_policy(usual)
        return self.made[name]


class Keras:
    """Layers of Keras."""

    settled = frozenset({"seed"})
    usual = frozenset({"attention_axes", "flash_attention"})
    seen = ("query_size", "key_size", "value_size")

    def build(self, target: Any, arguments: Mapping[str, Any]) -> Layer:
        """The layer in float32. Raises NoAdapterError on a backend that is not torch's."""
        if keras.backend.backend() != "torch":
            raise NoAdapterError(
                f"expected Keras on its torch backend, found {keras.backend.backend()}; set KERAS_BACKEND=torch"
            )
        layer = Layer(target, {n: v for n, v in arguments.items() if n not in self.seen})
        # What the constructor refuses is refused here, not in a call.
        layer.of(torch.float32)
        return layer

    def parameters(self, built: Layer) -> None:
        """Shapes show in the first call."""
        return

    def materialise(self, built: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Its trainable variables by path, after a call."""
        layer = self._built(built, args, kwargs)
        return {_path(v.path): v.value.detach().clone() for v in layer.trainable_variables}

    def call(
        self, built: Layer, parameters: Mapping[str, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any],
        *, train: bool, mapped: int,
    ) -> Any:  # fmt: skip
        """Call with the parameters that are given in the place of the layer's own."""
        layer = self._built(built, args, kwargs)
        values = [parameters[_path(v.path)] for v in layer.trainable_variables]
        rest = [v.value for v in layer.non_trainable_variables]
        training = {"training": train} if "training" in inspect.signature(layer.call).parameters else {}
        with keras.device(_device(args, kwargs)):
            return layer.stateless_call(values, rest, *args, **kwargs, **training)[0]

    def _built(self, built: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        floats = [t for t in flattened((tuple(args), dict(kwargs))) if t.is_floating_point()]
        layer = built.of(floats[0].dtype)
        if not layer.built:
            with keras.device(_device(args, kwargs)), torch.no_grad():
                layer(*args, **kwargs)
        return layer


def _device(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return flattened((tuple(args), dict(kwargs)))[0].device.type


def _path(path: str) -> str:
    *places, leaf = path.split("/")[1:]
    return ".".join([*places, "weight" if leaf == "kernel" else leaf])


FRAMEWORKS = {"keras": Keras()}
