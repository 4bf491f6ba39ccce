"""NumPy: arrays that are the tensors' own memory; what an object learns are its arrays."""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attncheck.targets.frameworks.crossing import constructor_of, flattened, mapped_tree


class NumPy:
    """Functions and objects that compute with NumPy."""

    settled = frozenset({"seed"})
    usual: frozenset[str] = frozenset()
    seen = ()

    def build(self, target: Any, arguments: Mapping[str, Any]) -> Any:
        """A new instance; one that wants a generator gets one."""
        known = constructor_of(target).parameters
        given = {"rng": np.random.default_rng(0), "seed": 0}
        return target(**{n: v for n, v in given.items() if n in known}, **arguments)

    def parameters(self, built: Any) -> dict[str, Tensor]:
        """Its arrays of floats, by path."""
        return {path: torch.from_numpy(np.array(array)) for path, _, _, array in _arrays(built, "")}

    def materialise(self, built: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """What it learns is there from the start."""
        return self.parameters(built)

    def call(
        self, built: Any, parameters: Mapping[str, Tensor], args: Sequence[Any], kwargs: Mapping[str, Any],
        *, train: bool, mapped: int,
    ) -> Any:  # fmt: skip
        """Call with arrays in the place of tensors."""
        for path, holder, name, _ in list(_arrays(built, "")) if parameters else ():
            _put(holder, name, _array(parameters[path]))
        function = built if callable(built) else built.forward
        given = mapped_tree(lambda p: _array(p) if isinstance(p, Tensor) else p, (tuple(args), dict(kwargs)))
        tensors = flattened((args, kwargs))
        device = tensors[0].device if tensors else torch.device("cpu")
        result = _one_by_one(function, given, mapped)
        return mapped_tree(lambda part: _tensor(part, device), result)


def _one_by_one(function: Any, given: Any, depth: int) -> Any:
    """The results of calls without the first axes, put together again."""
    if depth == 0:
        args, kwargs = given
        return function(*args, **kwargs)
    lengths: list[int] = []
    mapped_tree(lambda p: lengths.append(len(p)) if isinstance(p, np.ndarray) else None, given)
    if not lengths or min(lengths) != max(lengths) or not min(lengths):
        raise ValueError(f"expected arguments of one length above zero along the first axis, got {lengths}")
    results = []
    for index in range(lengths[0]):
        own = mapped_tree(functools.partial(_at, index), given)
        results.append(_one_by_one(function, own, depth - 1))
    if isinstance(results[0], tuple):
        return tuple(np.stack(parts) for parts in zip(*results, strict=True))
    return np.stack(results)


def _at(index: int, part: Any) -> Any:
    return part[index] if isinstance(part, np.ndarray) else part


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _tensor(part: Any, device: torch.device) -> Any:
    if not isinstance(part, (np.ndarray, np.generic)):
        return part
    array = np.asarray(part)
    # torch cannot share what is read-only or runs backwards.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array).to(device)


def _arrays(holder: Any, prefix: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Path, holder, name and value of every array of floats in an object, its lists and dictionaries."""
    items: Any = enumerate(holder) if isinstance(holder, list) else dict(_fields(holder)).items()
    for name, value in items:
        path = f"{prefix}{name}"
        if isinstance(value, np.ndarray):
            if value.ndim and np.issubdtype(value.dtype, np.floating):
                yield path, holder, name, value
        elif isinstance(value, (list, dict)) or _is_part(value):
            yield from _arrays(value, f"{path}.")


def _fields(holder: Any) -> Mapping[str, Any]:
    return holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})


def _is_part(value: Any) -> bool:
    """Whether an object may hold arrays: it has fields, and is no class or function."""
    return not isinstance(value, type) and not inspect.isroutine(value) and hasattr(value, "__dict__")


def _put(holder: Any, name: Any, array: Any) -> None:
    if isinstance(holder, (list, dict)):
        holder[name] = array
    else:
        setattr(holder, name, array)


FRAMEWORKS = {"numpy": NumPy()}
